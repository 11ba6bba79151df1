package dynamo

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/shingle-proxy/shingle"
)

// errChanged says that the item is not what the write was conditional on.
var errChanged = errors.New("the item has changed")

// translate turns DynamoDB's errors into the project's.
func (c *client) translate(operation string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return errChanged
	}
	code := ""
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	switch _, throttled := retry.DefaultThrottleErrorCodes[code]; {
	case throttled:
		return throttling(err)
	case code == "ResourceNotFoundException":
		return setup(err, "there is no table %s in %s: shingle store create --table %s --table-region %s makes it", c.table, c.region, c.table, c.region)
	case code == "AccessDeniedException":
		return setup(err, "AWS does not allow %s on the table %s in %s: add it to the policy of this machine's role or user (docs/storage.md has the policy)", action(operation, err), c.table, c.region)
	case slices.Contains([]string{"UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "ExpiredTokenException", "MissingAuthenticationTokenException"}, code):
		return setup(err, "AWS does not accept the credentials of this machine (%s)", code)
	case code == "ValidationException" && strings.Contains(err.Error(), "schema"):
		return setup(err, "the table %s in %s is not one of Shingle's: its key must be pk and sk, both strings", c.table, c.region)
	case strings.Contains(err.Error(), "get credentials"):
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "this machine has no AWS credentials now: give it a role, or set AWS_PROFILE", Err: fmt.Errorf("%s: %w", operation, err)}
	case code == "":
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: fmt.Sprintf("the table cannot be reached now in %s, try again later", c.region), Err: fmt.Errorf("%s: %w", operation, err)}
	}
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: fmt.Sprintf("the table cannot be used now in %s, try again later", c.region), Err: fmt.Errorf("%s: %w", operation, err)}
}

func throttling(err error) error {
	return &shingle.Error{Code: shingle.CodeThrottled, Message: "the table takes no more requests now, try again in a moment", Err: err}
}

func setup(err error, format string, args ...any) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: fmt.Sprintf(format, args...), Err: fmt.Errorf("%w: %w", shingle.ErrSetup, err)}
}

var actionPattern = regexp.MustCompile(`not authorized to perform: (dynamodb:\w+)`)

// action is the IAM action that was missing: AWS names it, and a transaction
// needs others than its own.
func action(operation string, err error) string {
	if m := actionPattern.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return "dynamodb:" + operation
}

// doubt is the error of a write whose fate is open.
func doubt(operation string) error {
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "the table did not answer in time, and may have taken the write; read again", Err: fmt.Errorf("%s: an attempt was left without an answer", operation)}
}
