package aws

import "fmt"

// base is the stack of a region that all others stand on: a bucket for the
// binaries, and, with latency records, an address for each edge, which stays
// when the edge behind it is replaced.
func (d *Deployment) base(r Region) Stack {
	s := d.newStack(kindBase, r.Name, "artifacts and addresses of "+r.Name)
	s.Template.Resources["Artifacts"] = Resource{
		Type:           "AWS::S3::Bucket",
		DeletionPolicy: "Delete", UpdateReplacePolicy: "Retain",
		Properties: props{
			"BucketName":                     sub("shingle-" + d.Stage + "-${AWS::AccountId}-${AWS::Region}"),
			"BucketEncryption":               props{"ServerSideEncryptionConfiguration": []props{{"ServerSideEncryptionByDefault": props{"SSEAlgorithm": "AES256"}}}},
			"PublicAccessBlockConfiguration": props{"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true},
			"OwnershipControls":              props{"Rules": []props{{"ObjectOwnership": "BucketOwnerEnforced"}}},
			"LifecycleConfiguration": props{"Rules": []props{{
				"Id": "abandoned-uploads", "Status": "Enabled", "AbortIncompleteMultipartUpload": props{"DaysAfterInitiation": 1},
			}}},
			"Tags": d.tags(),
		},
	}
	s.Template.Resources["ArtifactsOverTLS"] = Resource{
		Type: "AWS::S3::BucketPolicy",
		Properties: props{"Bucket": ref("Artifacts"), "PolicyDocument": policy(props{
			"Effect": "Deny", "Principal": "*", "Action": "s3:*",
			"Resource":  []any{attr("Artifacts", "Arn"), sub("${Artifacts.Arn}/*")},
			"Condition": props{"Bool": props{"aws:SecureTransport": "false"}},
		})},
	}
	s.output("Bucket", "Name of the bucket with the binaries", ref("Artifacts"))
	if d.Front == FrontRoute53 {
		d.addresses(&s, r)
	}
	return s
}

func (d *Deployment) addresses(s *Stack, r Region) {
	for i := range r.Edges {
		name := fmt.Sprintf("Address%d", i+1)
		s.Template.Resources[name] = Resource{
			Type:       "AWS::EC2::EIP",
			Properties: props{"Domain": "vpc", "Tags": append(d.tags(), props{"Key": "shingle:edges", "Value": d.Stage})},
		}
		s.output(name, "Public address of an edge", ref(name))
	}
}
