package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/shingle-proxy/shingle"
)

// Token makes an API token, and has the control plane take it, as whoever may call its
// function can. The function learns the token's hash alone, and one token, however often it
// is called: so an attempt whose reply was lost leaves none that nobody knows.
func (x *Deployer) Token(ctx context.Context) (string, error) {
	text, t := shingle.NewTokenCall(time.Now())
	call, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	out, err := lambda.NewFromConfig(x.Account.in(x.Deployment.Home())).Invoke(ctx, &lambda.InvokeInput{
		FunctionName: aws.String(x.Deployment.name("control")), Payload: call,
	})
	if err != nil {
		return "", fmt.Errorf("have the control plane take a token: %w", err)
	}
	var answer struct {
		ID           string `json:"id"`
		ErrorMessage string `json:"errorMessage"`
	}
	if err := json.Unmarshal(out.Payload, &answer); err != nil || answer.ID != t.ID {
		return "", shingle.Errorf(shingle.CodeUnavailable, "the control plane took no token: %s", answer.ErrorMessage)
	}
	return text, nil
}
