package app

import (
	"errors"
	"fmt"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

// explain puts an error of a store into words, for the operator, who may know what
// happened; and what he does about it, if the words do not say so.
func explain(err error) (message, do string) {
	if message, do = sqlite.Explain(err); do != "" {
		return message, do
	}
	e, ok := errors.AsType[*shingle.Error](err)
	if !ok {
		return err.Error(), ""
	}
	message = e.Message
	if e.Err != nil && !errors.Is(err, shingle.ErrSetup) {
		message = fmt.Sprintf("%s (%s)", message, rootOf(e.Err))
	}
	return message, ""
}

// rootOf is the first cause of an error.
func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
