package aws

import "fmt"

// hours of the 30 days that a bill is for.
const hours = 720

// diskGB is the smallest disk that the machine image fits on.
const diskGB = 8

// Load is what a deployment has to do in 30 days.
type Load struct {
	Domains    int     // that are served
	NewDomains int     // that are added
	TrafficGB  float64 // to visitors
	APICalls   int     // by the operator's product, people and programs
}

// Bill is what 30 days cost, line by line.
type Bill struct{ Lines []Line }

// Line is a part of a bill.
type Line struct {
	What     string  `json:"what"`
	Quantity float64 `json:"quantity"`
	Price
	Amount float64 `json:"amount"` // USD
	// Beside is what the reference's own figure leaves out although AWS bills it:
	// public addresses, disks, the zone.
	Beside bool `json:"beside,omitempty"`
}

// Total is all that AWS bills, in USD.
func (b *Bill) Total() (usd float64) {
	for _, l := range b.Lines {
		usd += l.Amount
	}
	return usd
}

// Scoped is the total without what the reference's figure leaves out.
func (b *Bill) Scoped() float64 {
	total := b.Total()
	for _, l := range b.Lines {
		if l.Beside {
			total -= l.Amount
		}
	}
	return total
}

// add puts a line on the bill. A price that is not in the table is a mistake of
// ours, which a test finds.
func (b *Bill) add(id, what string, quantity float64) *Line {
	p, ok := Prices().find(id)
	if !ok {
		panic("no price for " + id)
	}
	b.Lines = append(b.Lines, Line{What: what, Quantity: quantity, Price: p, Amount: max(0, quantity-p.Free) * p.USD})
	return &b.Lines[len(b.Lines)-1]
}

func (b *Bill) beside(id, what string, quantity float64) { b.add(id, what, quantity).Beside = true }

// Cost returns the bill of a deployment under a load.
func (d *Deployment) Cost(l Load) Bill {
	var b Bill
	edges, regions := float64(d.edges()), float64(len(d.Regions))
	b.add(d.InstanceType, fmt.Sprintf("edges, %s", d.InstanceType), edges*hours)
	addresses := edges
	if d.Front == FrontAccelerator {
		b.add("accelerator", "Global Accelerator", hours)
		addresses += 2
	}
	table := d.tableUse(l)
	b.add("table-read", "table: reads", table.reads/1e6)
	b.add("table-write", "table: writes", table.writes*regions/1e6)
	b.add("table-storage", "table: storage", table.gigabytes*regions)
	b.add("table-recovery", "table: point-in-time recovery", table.gigabytes*regions)
	b.add("lambda-request", "control: calls", (float64(l.APICalls)+minutes)/1e6)
	seconds := float64(l.APICalls)*callSeconds + minutes*tickSeconds + l.turns()*turnSeconds
	b.add("lambda-time", "control: time", seconds*controlMemory/1024)
	b.add("alarm", "alarms", d.count("AWS::CloudWatch::Alarm"))
	b.add("metric", "metrics of the alarms' own", controlMetrics+regions*edgeMetrics)
	b.add("log", "log", (edges*minutes*edgeLine+(float64(l.APICalls)+minutes)*callLines+l.turns()*turnLines)/1e9)
	if d.MasterKey == MasterKeyKMS {
		b.add("kms-key", "master key, in each region, before its first yearly rotation", regions)
	}
	b.beside("ipv4", "public IPv4 addresses", addresses*hours)
	b.beside("disk", fmt.Sprintf("disks, %d GB gp3", diskGB), edges*diskGB)
	if d.Zone != "" || d.Front == FrontRoute53 {
		b.beside("zone", "hosted zone", 1)
	}
	if d.Front == FrontRoute53 {
		b.beside("health-check", "health checks of the edges", edges)
	}
	if l.TrafficGB > 0 {
		b.add("traffic", "traffic to visitors", l.TrafficGB)
		if d.Front == FrontAccelerator {
			b.add("accelerator-traffic", "traffic through the accelerator", l.TrafficGB)
		}
	}
	return b
}

// count returns how many resources of a kind the stacks have.
func (d *Deployment) count(kind string) (n float64) {
	for _, s := range d.Stacks() {
		for _, r := range s.Template.Resources {
			if r.Type == kind {
				n++
			}
		}
	}
	return n
}

// Reference returns the bill of the stack that Shingle replaces: one t2.micro
// behind Global Accelerator in one region.
func Reference() Bill {
	var b Bill
	b.add("t2.micro", "edge, t2.micro", hours)
	b.add("accelerator", "Global Accelerator", hours)
	b.add("table-write", "table: writes", 0.04/0.625) // its own figure: $0.04
	b.beside("ipv4", "public IPv4 addresses", 3*hours)
	b.beside("disk", "disk, 8 GB gp3", diskGB)
	b.beside("zone", "hosted zone", 1)
	return b
}
