package aws

import (
	"fmt"
	"maps"
)

// edge is the stack of a region's network and instances.
func (d *Deployment) edge(r Region) Stack {
	s := d.newStack(kindEdge, r.Name, "edges of "+r.Name)
	d.network(&s)
	d.edgeRole(&s, r)
	d.launchTemplate(&s, r)
	d.group(&s, r)
	d.edgeAlarms(&s, r)
	return s
}

// network is a small one of the edges' own, so that nothing depends on what the
// account's default network has become.
func (d *Deployment) network(s *Stack) {
	r := s.Template.Resources
	r["Network"] = Resource{Type: "AWS::EC2::VPC", Properties: props{
		"CidrBlock": "10.80.0.0/24", "EnableDnsSupport": true, "EnableDnsHostnames": true, "Tags": d.tags(),
	}}
	r["IPv6"] = Resource{Type: "AWS::EC2::VPCCidrBlock", Properties: props{
		"VpcId": ref("Network"), "AmazonProvidedIpv6CidrBlock": true,
	}}
	r["Gateway"] = Resource{Type: "AWS::EC2::InternetGateway", Properties: props{"Tags": d.tags()}}
	r["Attachment"] = Resource{Type: "AWS::EC2::VPCGatewayAttachment", Properties: props{
		"VpcId": ref("Network"), "InternetGatewayId": ref("Gateway"),
	}}
	r["Routes"] = Resource{Type: "AWS::EC2::RouteTable", Properties: props{"VpcId": ref("Network"), "Tags": d.tags()}}
	r["RouteIPv4"] = Resource{Type: "AWS::EC2::Route", DependsOn: []string{"Attachment"}, Properties: props{
		"RouteTableId": ref("Routes"), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ref("Gateway"),
	}}
	r["RouteIPv6"] = Resource{Type: "AWS::EC2::Route", DependsOn: []string{"Attachment"}, Properties: props{
		"RouteTableId": ref("Routes"), "DestinationIpv6CidrBlock": "::/0", "GatewayId": ref("Gateway"),
	}}
	for i := range 2 {
		id := fmt.Sprintf("Subnet%d", i+1)
		r[id] = Resource{Type: "AWS::EC2::Subnet", DependsOn: []string{"IPv6"}, Properties: props{
			"VpcId": ref("Network"), "AvailabilityZone": zoneOf(i),
			"CidrBlock":                   fmt.Sprintf("10.80.0.%d/25", i*128),
			"Ipv6CidrBlock":               props{"Fn::Select": []any{i, props{"Fn::Cidr": []any{props{"Fn::Select": []any{0, attr("Network", "Ipv6CidrBlocks")}}, 2, 64}}}},
			"AssignIpv6AddressOnCreation": true, "MapPublicIpOnLaunch": true, "Tags": d.tags(),
		}}
		r["Routing"+id] = Resource{Type: "AWS::EC2::SubnetRouteTableAssociation", Properties: props{
			"SubnetId": ref(id), "RouteTableId": ref("Routes"),
		}}
	}
	r["Firewall"] = Resource{Type: "AWS::EC2::SecurityGroup", Properties: props{
		"GroupDescription": "Visitors of Shingle, stage " + d.Stage, "VpcId": ref("Network"),
		"SecurityGroupIngress": d.ingress(), "Tags": d.tags(),
		"SecurityGroupEgress": []props{
			{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0", "Description": "origins, CAs, AWS"},
			{"IpProtocol": "-1", "CidrIpv6": "::/0", "Description": "origins, CAs, AWS"},
		},
	}}
}

func (d *Deployment) ingress() (rules []props) {
	for _, open := range []struct {
		protocol, what string
		port           int
	}{{"tcp", "HTTP", 80}, {"tcp", "HTTPS", 443}, {"udp", "HTTP/3", 443}} {
		rule := props{"IpProtocol": open.protocol, "FromPort": open.port, "ToPort": open.port, "Description": open.what}
		v4, v6 := maps.Clone(rule), maps.Clone(rule)
		v4["CidrIp"], v6["CidrIpv6"] = "0.0.0.0/0", "::/0"
		rules = append(rules, v4, v6)
	}
	if d.SSHFrom != "" {
		rules = append(rules, props{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": d.SSHFrom, "Description": "SSH of the operator"})
	}
	return rules
}

func (d *Deployment) edgeRole(s *Stack, r Region) {
	base, data := d.newStack(kindBase, r.Name, ""), d.newStack(kindData, d.Home(), "")
	bucket := s.input("Bucket", "bucket with the binary", &base, "Bucket")
	statements := append(d.tableRights(s.input("TableArn", "ARN of the table", &data, "TableArn")),
		statement([]string{"s3:GetObject"}, props{"Fn::Sub": []any{"arn:${AWS::Partition}:s3:::${Name}/edge/*", props{"Name": bucket}}}),
		statement([]string{"autoscaling:CompleteLifecycleAction", "autoscaling:SetInstanceHealth"},
			sub("arn:${AWS::Partition}:autoscaling:${AWS::Region}:${AWS::AccountId}:autoScalingGroup:*:autoScalingGroupName/"+d.name("edges"))),
		statement([]string{"cloudformation:SignalResource"}, ref("AWS::StackId")),
		statement([]string{"logs:CreateLogStream", "logs:PutLogEvents"}, attr("Log", "Arn")),
		d.masterKeyRights(s))
	statements = append(statements, d.frontRights(s, r)...)
	statements = append(statements, dns01Rights(d.Settings.Edge)...)
	s.Template.Resources["Log"] = d.log(d.edgeLog())
	s.Template.Resources["Role"] = Resource{Type: "AWS::IAM::Role", Properties: props{
		"AssumeRolePolicyDocument": trust("ec2.amazonaws.com"),
		"ManagedPolicyArns":        []any{sub("arn:${AWS::Partition}:iam::aws:policy/AmazonSSMManagedInstanceCore")},
		"Policies":                 []props{{"PolicyName": "edge", "PolicyDocument": policy(statements...)}},
		"Tags":                     d.tags(),
	}}
	s.Template.Resources["Profile"] = Resource{Type: "AWS::IAM::InstanceProfile", Properties: props{"Roles": []any{ref("Role")}}}
}

// edgeLog is the log group of the edges' metrics.
func (d *Deployment) edgeLog() string { return "/shingle/" + d.Stage + "/edge" }

// frontRights let an edge put itself before visitors, and take itself away.
func (d *Deployment) frontRights(s *Stack, r Region) []props {
	front := d.newStack(kindFront, d.Home(), "")
	if d.Front == FrontAccelerator {
		var groups []any
		for _, protocol := range protocols {
			groups = append(groups, s.input("Endpoints"+protocol, "endpoint group for "+protocol, &front, groupID(protocol, r.Name)))
		}
		// The first endpoint of an account may have Global Accelerator make its own role,
		// which is by the right of whoever adds it.
		own := statement([]string{"iam:CreateServiceLinkedRole"}, sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/globalaccelerator.amazonaws.com/*"))
		own["Condition"] = props{"StringEquals": props{"iam:AWSServiceName": "globalaccelerator.amazonaws.com"}}
		return []props{own, statement([]string{"globalaccelerator:AddEndpoints", "globalaccelerator:DescribeEndpointGroup", "globalaccelerator:RemoveEndpoints"}, groups...)}
	}
	return []props{
		statement([]string{"ec2:DescribeAddresses"}, "*"),
		{
			"Effect": "Allow", "Action": []string{"ec2:AssociateAddress", "ec2:DisassociateAddress"},
			"Resource": []any{
				sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:elastic-ip/*"),
				sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"),
				sub("arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:network-interface/*"),
			},
			"Condition": props{"StringEquals": props{"aws:ResourceTag/shingle:stage": d.Stage}},
		},
	}
}

func (d *Deployment) launchTemplate(s *Stack, r Region) {
	s.Template.Parameters["Image"] = Parameter{
		Type: "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>", Description: "Machine image of the edges: Amazon Linux 2023, arm64",
		Default: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
	}
	s.Template.Parameters["BinarySHA256"] = Parameter{
		Type: "String", Description: "SHA-256 of the binary edge/SHA256 in the bucket, in hex", AllowedPattern: "[0-9a-f]{64}",
	}
	s.Template.Resources["Machine"] = Resource{Type: "AWS::EC2::LaunchTemplate", Properties: props{"LaunchTemplateData": props{
		"ImageId": ref("Image"), "InstanceType": d.InstanceType, "IamInstanceProfile": props{"Arn": attr("Profile", "Arn")},
		"CreditSpecification": props{"CpuCredits": "standard"}, // slower rather than dearer
		"MetadataOptions":     props{"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
		"BlockDeviceMappings": []props{{"DeviceName": "/dev/xvda", "Ebs": props{
			"VolumeType": "gp3", "VolumeSize": diskGB, "Encrypted": true, "DeleteOnTermination": true,
		}}},
		"SecurityGroupIds": []any{attr("Firewall", "GroupId")},
		"TagSpecifications": []props{
			{"ResourceType": "instance", "Tags": append(d.tags(), props{"Key": "Name", "Value": d.name("edge")})},
			{"ResourceType": "volume", "Tags": d.tags()},
			{"ResourceType": "network-interface", "Tags": d.tags()},
		},
		"UserData": base64(d.userData(r)),
	}}}
}

// group keeps the edges running, and replaces them one by one: a new one must
// signal that it serves before the next is touched.
func (d *Deployment) group(s *Stack, r Region) {
	s.Template.Resources["Edges"] = Resource{
		Type:           "AWS::AutoScaling::AutoScalingGroup",
		DependsOn:      []string{"RouteIPv4", "RouteIPv6", "RoutingSubnet1", "RoutingSubnet2"},
		CreationPolicy: props{"ResourceSignal": props{"Count": r.Edges, "Timeout": "PT15M"}},
		UpdatePolicy: props{
			"AutoScalingRollingUpdate": props{
				"MinInstancesInService": r.Edges, "MaxBatchSize": 1, "PauseTime": "PT15M", "WaitOnResourceSignals": true,
				"SuspendProcesses": []string{"AlarmNotification", "AZRebalance", "HealthCheck", "ReplaceUnhealthy", "ScheduledActions"},
			},
			"AutoScalingScheduledAction": props{"IgnoreUnmodifiedGroupSizeProperties": true},
		},
		Properties: props{
			"AutoScalingGroupName": d.name("edges"),
			"MinSize":              fmt.Sprint(r.Edges), "DesiredCapacity": fmt.Sprint(r.Edges), "MaxSize": fmt.Sprint(r.Edges + 1),
			"VPCZoneIdentifier": []any{ref("Subnet1"), ref("Subnet2")},
			"LaunchTemplate":    props{"LaunchTemplateId": ref("Machine"), "Version": attr("Machine", "LatestVersionNumber")},
			"HealthCheckType":   "EC2", "HealthCheckGracePeriod": 120,
			"LifecycleHookSpecificationList": []props{{
				"LifecycleHookName": "drain", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
				"HeartbeatTimeout": 120, "DefaultResult": "CONTINUE",
			}},
			"Tags": []props{{"Key": "shingle:stage", "Value": d.Stage, "PropagateAtLaunch": false}},
		},
	}
}
