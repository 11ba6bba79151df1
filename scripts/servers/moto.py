# moto as its own `python -m moto.server` starts it, but for one thing: requests
# take turns. In moto a conditional write is a look and then a write, so that of
# two threads both may win, or meet halfway and fail.
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def in_turn(environ, start_response):
    with turn:
        return list(application(environ, start_response))


run_simple("127.0.0.1", int(sys.argv[1]), in_turn, threaded=True)
