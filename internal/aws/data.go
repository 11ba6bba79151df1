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
