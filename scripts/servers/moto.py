# moto as its own `python -m moto.server` starts it, but for some things.
#
# Requests take turns. In moto a conditional write is a look and then a write, so
# that of two threads both may win, or meet halfway and fail.
#
# Stacks: one that was made by a change set has outputs; a global table is a table
# in its own region, with the settings of its replica there; and what moto has no model of, which it leaves out without a
# word, can be referred to; a network has an IPv6 block, and blocks have parts; and
# RetainExceptOnCreate retains.
import ipaddress
import itertools
import sys
import threading

import moto.cloudformation.parsing as parsing
from moto.cloudformation.models import ChangeSet
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

application = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()

without_outputs = ChangeSet.apply


def apply(change_set):
    without_outputs(change_set)
    stack = change_set.stack
    stack.template = change_set.template
    stack._parse_template()
    stack.output_map = stack._create_output_map()


ChangeSet.apply = apply


class Other:
    def __init__(self, name):
        self.physical_resource_id = name

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, *_, **__):
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, *_, **__):
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, *_, **__):
        pass

    def get_cfn_attribute(self, name):
        return self.physical_resource_id + "-" + name


class GlobalTable(Table):
    __module__ = Table.__module__  # by which moto tells services

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        properties = dict(cloudformation_json["Properties"])
        (here,) = [r for r in properties["Replicas"] if r["Region"] == region_name]
        properties["DeletionProtectionEnabled"] = here["DeletionProtectionEnabled"]
        table = super().create_from_cloudformation_json(resource_name, cloudformation_json | {"Properties": properties}, account_id, region_name, **kwargs)
        backend = dynamodb_backends[account_id][region_name]
        backend.update_time_to_live(table.name, properties["TimeToLiveSpecification"])
        backend.update_continuous_backups(table.name, here["PointInTimeRecoverySpecification"])
        return table

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, *_, **__):
        return original_resource


known = parsing.resource_class_from_type


def resource_class_from_type(kind):
    if kind == "AWS::DynamoDB::GlobalTable":
        return GlobalTable
    if kind == "AWS::DynamoDB::Table" or kind in parsing.get_model_map() or kind in parsing.NULL_MODELS:
        return known(kind)
    return Other


parsing.resource_class_from_type = resource_class_from_type
name_of = parsing.resource_name_property_from_type
parsing.resource_name_property_from_type = lambda kind: name_of("AWS::DynamoDB::Table" if kind == "AWS::DynamoDB::GlobalTable" else kind)
clean_json = parsing.clean_json


def clean(value, resources):
    if isinstance(value, dict) and value.get("Fn::GetAtt", ["", ""])[1] == "Ipv6CidrBlocks":
        return ["2001:db8:0:ff00::/56"]
    if isinstance(value, dict) and "Fn::Cidr" in value:
        block, count, bits = clean_json(value["Fn::Cidr"], resources)
        network = ipaddress.ip_network(block)
        subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
        return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
    return clean_json(value, resources)


parsing.clean_json = clean
without_exceptions = parsing.ResourceMap.delete


def delete(resources):
    for resource in resources._resource_json_map.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    without_exceptions(resources)


parsing.ResourceMap.delete = delete


def in_turn(environ, start_response):
    with turn:
        return list(application(environ, start_response))


run_simple("127.0.0.1", int(sys.argv[1]), in_turn, threaded=True)
