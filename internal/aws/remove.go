package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Remove deletes the stacks, each when those that stand on it are gone, in all regions in
// which there are any. The table, the master key (of a KMS key, the one at home) and the
// zone stay, and a later Deploy takes them up again.
func (x *Deployer) Remove(ctx context.Context) error {
	regions, err := x.Regions(ctx)
	if err != nil || len(regions) == 0 {
		return err
	}
	if err := x.noteRegions(ctx, regions); err != nil { // the record of the deployment is the first to go
		return err
	}
	stacks, err := x.there(ctx, x.Deployment.everything(regions))
	if err != nil {
		return err
	}
	if err := x.removeAll(ctx, stacks); err != nil {
		return err
	}
	return x.dropReplicas(ctx, without(regions, []string{x.Deployment.Home()}))
}

func (x *Deployer) removeAll(ctx context.Context, stacks []Stack) error {
	on := map[string][]string{} // stack -> those that stand on it
	for _, s := range stacks {
		for _, id := range s.After {
			on[id] = append(on[id], s.ID())
		}
	}
	return inOrder(ctx, stacks, func(s *Stack) []string { return on[s.ID()] }, x.removeStack)
}

func (x *Deployer) removeStack(ctx context.Context, s *Stack) error {
	r := x.run(s)
	is, err := r.look(ctx, s.Name)
	if err == nil && is.busy() { // an earlier run has begun it
		is, err = r.settle(ctx, is)
	}
	if errors.Is(err, errNoStack) || err == nil && is.status == cfntypes.StackStatusDeleteComplete {
		r.say("not there", "")
		return nil
	}
	if err != nil {
		return err
	}
	if bucket := is.outputs["Bucket"]; bucket != "" {
		if err := empty(ctx, x.Account.s3(s.Region), bucket); err != nil {
			return err
		}
	}
	return r.remove(ctx)
}

// empty deletes the artifacts, for CloudFormation deletes empty buckets only.
func empty(ctx context.Context, c *s3.Client, bucket string) error {
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if _, missing := errors.AsType[*types.NoSuchBucket](err); missing {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list bucket %s: %w", bucket, err)
		}
		var objects []types.ObjectIdentifier
		for _, o := range page.Contents {
			objects = append(objects, types.ObjectIdentifier{Key: o.Key})
		}
		if len(objects) == 0 {
			continue
		}
		out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)}})
		if err == nil && len(out.Errors) > 0 {
			err = errors.New(aws.ToString(out.Errors[0].Message))
		}
		if err != nil {
			return fmt.Errorf("empty bucket %s: %w", bucket, err)
		}
	}
	return nil
}
