package aws

import "slices"

// masterKey is the KMS key at home. Like the table it stays whatever happens to the
// stack: without it nothing in the table can be read.
func (d *Deployment) masterKey(s *Stack) {
	s.Template.Resources["MasterKey"] = retained(Resource{
		Type: "AWS::KMS::Key",
		Properties: props{
			"Description": d.keyDescription(), "MultiRegion": true, "EnableKeyRotation": true, "PendingWindowInDays": 30,
			"KeyPolicy": d.keyPolicy(), "Tags": d.tags(),
		},
	})
	// By its name the next life of the stage finds the key.
	s.Template.Resources["MasterKeyName"] = retained(Resource{
		Type: "AWS::KMS::Alias", Properties: props{"AliasName": d.keyAlias(), "TargetKeyId": ref("MasterKey")},
	})
	s.output("MasterKeyArn", "ARN of the master key", attr("MasterKey", "Arn"))
}

// key is the stack of another region's replica of the master key. It is apart from the
// edges, so that no change of theirs reaches it. A replica is no data: it can be made
// anew from the key at home, and costs, so that it goes with its region.
func (d *Deployment) key(r Region) Stack {
	s := d.newStack(kindKey, r.Name, "the master key in "+r.Name)
	data := d.newStack(kindData, d.Home(), "")
	s.Template.Resources["Replica"] = Resource{
		Type:           "AWS::KMS::ReplicaKey",
		DeletionPolicy: "Delete", UpdateReplacePolicy: "Delete",
		Properties: props{
			"PrimaryKeyArn": s.input("MasterKeyArn", "ARN of the master key", &data, "MasterKeyArn"),
			"Description":   d.keyDescription(), "PendingWindowInDays": replicaWindow,
			"KeyPolicy": d.keyPolicy(), "Tags": d.tags(),
		},
	}
	s.output("ReplicaArn", "ARN of the replica", attr("Replica", "Arn"))
	return s
}

// replicaWindow is for how many days a replica that goes can be called back: the least.
const replicaWindow = 7

func (d *Deployment) keyDescription() string {
	return "Shingle, stage " + d.Stage + ": protects the private keys in the table"
}

// replicates reports whether the stage has a replica of its master key in a region.
func (d *Deployment) replicates(region string) bool {
	return d.MasterKey == MasterKeyKMS && region != d.Home()
}

// ownsReplica reports whether it is a stack of the stage that makes it.
func (d *Deployment) ownsReplica(region string) bool {
	return d.replicates(region) && !slices.Contains(d.KeptReplicas, region)
}

// masterKeyRights are those on the master key, of whichever kind, in the stack's region.
func (d *Deployment) masterKeyRights(s *Stack) props {
	if d.MasterKey == MasterKeyParameter {
		return statement([]string{"ssm:GetParameter"}, sub("arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"+d.keyParameter()))
	}
	data := d.newStack(kindData, d.Home(), "")
	key := s.input("MasterKeyArn", "ARN of the master key", &data, "MasterKeyArn")
	if d.replicates(s.Region) { // the same key by another ARN
		id := props{"Fn::Select": []any{5, props{"Fn::Split": []any{":", key}}}}
		key = props{"Fn::Sub": []any{"arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:${Name}", props{"Name": id}}}
	}
	if d.ownsReplica(s.Region) {
		replica := d.newStack(kindKey, s.Region, "")
		s.After = append(s.After, replica.ID())
	}
	return statement([]string{"kms:Decrypt", "kms:Encrypt"}, key)
}

// keyPolicy is that of the key and of its replicas. Whoever the account's IAM lets
// administer keys may do so, but not use this one: that is for the roles of the stage
// alone, and for records of Shingle alone. Whoever changes this policy is seen in CloudTrail.
func (d *Deployment) keyPolicy() props {
	account := props{"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")}
	return policy(
		props{
			"Sid": "Administration", "Effect": "Allow", "Principal": account, "Resource": "*",
			"Action": []string{
				"kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:Describe*", "kms:Disable*", "kms:Enable*", "kms:Get*", "kms:List*",
				"kms:PutKeyPolicy", "kms:ReplicateKey", "kms:RevokeGrant", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion", "kms:TagResource",
				"kms:UntagResource", "kms:Update*",
			},
		},
		props{
			"Sid": "Use", "Effect": "Allow", "Principal": account, "Resource": "*",
			"Action": []string{"kms:Decrypt", "kms:Encrypt"},
			"Condition": props{
				"StringEquals": props{"aws:PrincipalTag/shingle:stage": d.Stage},
				"StringLike":   props{"kms:EncryptionContext:shingle-record": "*"},
			},
		},
	)
}
