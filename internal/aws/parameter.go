package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/shingle-proxy/shingle"
)

// parameter returns what is in an encrypted parameter; empty when it is not there, as none
// can be empty.
func (x *Deployer) parameter(ctx context.Context, region, name string) (string, error) {
	out, err := x.Account.ssm(region).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if _, none := errors.AsType[*ssmtypes.ParameterNotFound](err); none {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read parameter %s in %s: %w", name, region, err)
	}
	return aws.ToString(out.Parameter.Value), nil
}

// createParameter makes an encrypted parameter, unless it is there by now, and returns what
// is in it: text, also when a first attempt's reply was lost and the second was told that it
// exists, or what another deployment has put there at the same time.
func (x *Deployer) createParameter(ctx context.Context, region, name, text, what string) (there string, err error) {
	err = x.putParameter(ctx, region, &ssm.PutParameterInput{
		Name: &name, Value: &text, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(false),
		Description: aws.String("Shingle, stage " + x.Deployment.Stage + ": " + what),
		Tags:        []ssmtypes.Tag{{Key: aws.String("shingle:stage"), Value: &x.Deployment.Stage}},
	})
	if _, made := errors.AsType[*ssmtypes.ParameterAlreadyExists](err); made {
		there, err = x.parameter(ctx, region, name)
		if err == nil && there == "" {
			err = shingle.Errorf(shingle.CodeConflict, "the parameter %s in %s is there, and is not: somebody else makes and deletes it; deploy again when they have done", name, region)
		}
		return there, err
	}
	return text, err
}

// replaceParameter puts another text into an encrypted parameter.
func (x *Deployer) replaceParameter(ctx context.Context, region, name, text string) error {
	return x.putParameter(ctx, region, &ssm.PutParameterInput{ // AWS takes tags with a new one alone
		Name: &name, Value: &text, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true),
	})
}

func (x *Deployer) putParameter(ctx context.Context, region string, in *ssm.PutParameterInput) error {
	if _, err := x.Account.ssm(region).PutParameter(ctx, in); err != nil {
		return fmt.Errorf("write parameter %s in %s: %w", *in.Name, region, err)
	}
	return nil
}

// deleteParameter deletes a parameter, if it is there.
func (x *Deployer) deleteParameter(ctx context.Context, region, name string) error {
	_, err := x.Account.ssm(region).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
	if _, none := errors.AsType[*ssmtypes.ParameterNotFound](err); none {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete parameter %s in %s: %w", name, region, err)
	}
	x.report(Event{At: time.Now(), Stack: region, Resource: name, Type: parameterType, Status: "deleted"})
	return nil
}

const parameterType = "AWS::SSM::Parameter"
