package aws

import "fmt"

// acceleratorZone is the hosted zone of all accelerators' names.
const acceleratorZone = "Z2BJ6XQ5FK7U4H"

// front is the stack that leads visitors to the nearest edge that is healthy.
func (d *Deployment) front() Stack {
	s := d.newStack(kindFront, d.Home(), "the way of visitors to the edges")
	var zone any
	if d.Zone != "" {
		zone = d.zone(&s)
	}
	if d.Front == FrontAccelerator {
		d.accelerator(&s, zone)
	} else {
		d.latencyRecords(&s, zone)
	}
	return s
}

// zone returns the ID of the hosted zone, which is made unless there is one.
func (d *Deployment) zone(s *Stack) any {
	if d.ZoneID != "" {
		return d.ZoneID
	}
	s.Template.Resources["Zone"] = retained(Resource{
		Type:       "AWS::Route53::HostedZone",
		Properties: props{"Name": d.Zone, "HostedZoneConfig": props{"Comment": d.zoneComment()}},
	})
	s.output("NameServers", "Where the registrar must delegate "+d.Zone+" to",
		props{"Fn::Join": []any{" ", attr("Zone", "NameServers")}})
	return ref("Zone")
}

// names are what customers' CNAME records lead to: the name, and below it one
// for each tenant that cannot be guessed.
func (d *Deployment) names() map[string]string {
	return map[string]string{"Name": d.Name, "TenantNames": "*." + d.Name}
}

func (d *Deployment) accelerator(s *Stack, zone any) {
	r := s.Template.Resources
	r["Accelerator"] = Resource{
		Type:       "AWS::GlobalAccelerator::Accelerator",
		Properties: props{"Name": d.name("edges"), "Enabled": true, "IpAddressType": "IPV4", "Tags": d.tags()},
	}
	r["TCP"] = listener("TCP", 80, 443)
	r["UDP"] = listener("UDP", 443)
	for _, region := range d.Regions {
		for _, protocol := range protocols {
			id := groupID(protocol, region.Name)
			r[id] = endpoints(protocol, region.Name)
			s.output(id, "ARN of the endpoint group of "+region.Name+" for "+protocol, ref(id))
		}
	}
	what := "The addresses, for domains that cannot have a CNAME record"
	if zone == nil {
		what = "Set A records of " + d.Name + " and *." + d.Name + " to"
	}
	for id, name := range d.names() {
		if zone != nil {
			r[id] = alias(zone, name, acceleratorZone, attr("Accelerator", "DnsName"))
		}
	}
	s.output("Addresses", what,
		props{"Fn::Join": []any{",", attr("Accelerator", "Ipv4Addresses")}})
}

// protocols are those of the accelerator's listeners.
var protocols = []string{"TCP", "UDP"}

// groupID is the logical ID, and the output, of a region's endpoint group.
func groupID(protocol, region string) string { return "Edges" + protocol + logical(region) }

func listener(protocol string, ports ...int) Resource {
	ranges := make([]props, len(ports))
	for i, p := range ports {
		ranges[i] = props{"FromPort": p, "ToPort": p}
	}
	return Resource{
		Type:       "AWS::GlobalAccelerator::Listener",
		Properties: props{"AcceleratorArn": ref("Accelerator"), "Protocol": protocol, "PortRanges": ranges, "ClientAffinity": "NONE"},
	}
}

// endpoints is a region's group. It names no endpoint: edges add themselves when
// they are healthy, and a property left out is one that CloudFormation leaves
// alone.
func endpoints(protocol, region string) Resource {
	return Resource{
		Type: "AWS::GlobalAccelerator::EndpointGroup",
		Properties: props{
			"ListenerArn": ref(protocol), "EndpointGroupRegion": region, "TrafficDialPercentage": 100,
			"HealthCheckProtocol": "HTTP", "HealthCheckPort": 80, "HealthCheckPath": "/health",
			"HealthCheckIntervalSeconds": 10, "ThresholdCount": 3,
		},
	}
}

func alias(zone any, name string, targetZone, target any) Resource {
	return Resource{
		Type: "AWS::Route53::RecordSet",
		Properties: props{
			"HostedZoneId": zone, "Name": name, "Type": "A",
			"AliasTarget": props{"HostedZoneId": targetZone, "DNSName": target, "EvaluateTargetHealth": true},
		},
	}
}

// latencyRecords has DNS answer with the addresses of the nearest region in which
// an edge is healthy: REGION.edge.example.com has all that are, and
// edge.example.com leads there.
func (d *Deployment) latencyRecords(s *Stack, zone any) {
	r := s.Template.Resources
	for _, region := range d.Regions {
		base := d.newStack(kindBase, region.Name, "")
		for i := range region.Edges {
			id := fmt.Sprintf("%s%d", logical(region.Name), i+1)
			address := s.input("Address"+id, "address of an edge in "+region.Name, &base, fmt.Sprintf("Address%d", i+1))
			r["Health"+id] = healthCheck(address)
			r["Edge"+id] = Resource{
				Type: "AWS::Route53::RecordSet",
				Properties: props{
					"HostedZoneId": zone, "Name": region.Name + "." + d.Name, "Type": "A", "TTL": "60",
					"SetIdentifier": id, "MultiValueAnswer": true, "HealthCheckId": ref("Health" + id), "ResourceRecords": []any{address},
				},
			}
		}
		for id, name := range d.names() {
			latency := alias(zone, name, zone, region.Name+"."+d.Name)
			latency.Properties["Region"], latency.Properties["SetIdentifier"] = region.Name, region.Name
			for i := range region.Edges {
				latency.DependsOn = append(latency.DependsOn, fmt.Sprintf("Edge%s%d", logical(region.Name), i+1))
			}
			r[id+logical(region.Name)] = latency
		}
	}
}

func healthCheck(address any) Resource {
	return Resource{
		Type: "AWS::Route53::HealthCheck",
		Properties: props{"HealthCheckConfig": props{
			"Type": "HTTP", "IPAddress": address, "Port": 80, "ResourcePath": "/health", "RequestInterval": 30, "FailureThreshold": 3,
		}},
	}
}
