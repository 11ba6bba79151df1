package kms

import (
	"errors"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/shingle-proxy/shingle"
)

// translate turns an error of the SDK into one of ours: [shingle.CodeInvalid]
// for what stays until the operator acts, and [shingle.CodeUnavailable]
// otherwise. action is the IAM action that the call needs.
func translate(err error, action, key string) error {
	code, status := "", 0
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = e.HTTPStatusCode()
	}
	invalid := func(format string, args ...any) error {
		e := shingle.Errorf(shingle.CodeInvalid, format, args...)
		e.Err = err
		return e
	}
	switch code {
	case "AccessDeniedException":
		return invalid("AWS denies %s on the KMS key %s: allow it in the policy of this machine's role, and see that the key's own policy does not forbid it", action, key)
	case "NotFoundException":
		return invalid("there is no KMS key %s: see whether account, region and name are right", key)
	case "DisabledException":
		return invalid("the KMS key %s is disabled: enable it", key)
	case "KMSInvalidStateException":
		return invalid("the KMS key %s cannot be used as it is: if its deletion is pending, cancel that", key)
	case "InvalidKeyUsageException", "UnsupportedOperationException":
		return invalid("the KMS key %s is not a symmetric one for encryption and decryption: make one of the type SYMMETRIC_DEFAULT", key)
	case "IncorrectKeyException", "InvalidCiphertextException":
		return invalid("what the KMS key %s wrapped was changed or belongs to another record: restore it from a backup", key)
	case "InvalidArnException", "InvalidAliasNameException", "ValidationException":
		return invalid("AWS KMS does not take %s as the name of a key", key)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken":
		return invalid("AWS KMS does not accept the credentials of this machine (%s)", code)
	case "ThrottlingException", "LimitExceededException", "RequestLimitExceeded", "TooManyRequestsException":
		return &shingle.Error{Code: shingle.CodeUnavailable, Message: "AWS KMS wants fewer requests; try again in a moment", Err: err}
	}
	switch {
	case status == http.StatusForbidden:
		return invalid("AWS denies %s on the KMS key %s (%s)", action, key, code)
	case strings.Contains(err.Error(), "get credentials"): // the SDK has no type for it
		return invalid("this machine has no AWS credentials: give it a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return &shingle.Error{Code: shingle.CodeUnavailable, Message: "AWS KMS does not answer; try again later", Err: err}
}
