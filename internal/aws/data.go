package aws

// data is the stack with the table. Whatever happens to the stack, the table
// stays: it has every certificate.
func (d *Deployment) data() Stack {
	s := d.newStack(kindData, d.Home(), "domains and certificates")
	replicas := make([]props, len(d.Regions))
	for i, r := range d.Regions {
		replicas[i] = props{
			"Region":                           r.Name,
			"DeletionProtectionEnabled":        true,
			"PointInTimeRecoverySpecification": props{"PointInTimeRecoveryEnabled": true},
			"Tags":                             d.tags(),
		}
	}
	s.Template.Resources["Table"] = retained(Resource{
		Type: "AWS::DynamoDB::GlobalTable", // for one region too: a table cannot become a global one in place
		Properties: props{
			"TableName":   d.table(),
			"BillingMode": "PAY_PER_REQUEST",
			"AttributeDefinitions": []props{
				{"AttributeName": "pk", "AttributeType": "S"},
				{"AttributeName": "sk", "AttributeType": "S"},
			},
			"KeySchema": []props{
				{"AttributeName": "pk", "KeyType": "HASH"},
				{"AttributeName": "sk", "KeyType": "RANGE"},
			},
			"TimeToLiveSpecification": props{"AttributeName": "ttl", "Enabled": true},
			"StreamSpecification":     props{"StreamViewType": "NEW_AND_OLD_IMAGES"}, // replicas need it
			"Replicas":                replicas,
		},
	})
	s.output("Table", "Name of the table", ref("Table"))
	s.output("TableArn", "ARN of the table", attr("Table", "Arn"))
	switch {
	case d.MasterKey != MasterKeyKMS:
	case d.MasterKeyARN != "":
		s.output("MasterKeyArn", "ARN of the master key", d.MasterKeyARN)
	default:
		d.masterKey(&s)
		// The table is the last to be made, so that no failure of another has to delete it.
		table := s.Template.Resources["Table"]
		table.DependsOn = []string{"MasterKeyName"}
		s.Template.Resources["Table"] = table
	}
	return s
}

func (d *Deployment) masterKey(s *Stack) {
	s.Template.Resources["MasterKey"] = retained(Resource{
		Type: "AWS::KMS::Key",
		Properties: props{
			"Description": "Shingle, stage " + d.Stage + ": protects the private keys in the table",
			"MultiRegion": true, "EnableKeyRotation": true, "PendingWindowInDays": 30,
			"KeyPolicy": keyPolicy(), "Tags": d.tags(),
		},
	})
	// By its name the next life of the stage finds the key.
	s.Template.Resources["MasterKeyName"] = retained(Resource{
		Type: "AWS::KMS::Alias", Properties: props{"AliasName": d.keyAlias(), "TargetKeyId": ref("MasterKey")},
	})
	s.output("MasterKeyArn", "ARN of the master key", attr("MasterKey", "Arn"))
}

// keyPolicy leaves to IAM who may use the key.
func keyPolicy() props {
	return policy(props{
		"Sid": "IAM", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
		"Principal": props{"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
	})
}
