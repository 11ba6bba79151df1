package aws

import "math"

// What the processes ask of the table, in request units (docs/storage.md has the
// counts), and of Lambda.
const (
	edgeReads    = 34 * minutes // of an edge at rest: it asks for changes once a second, and for news once a minute
	edgeWrites   = minutes / 5  // its report
	recordBytes  = 210          // of its record of an hour's traffic, besides the next
	trafficBytes = 27           // for each domain in it
	tickReads    = 0.5          // of a scheduled call that finds nothing to do
	lookReads    = 16           // for what is planned
	turnReads    = 71           // of a turn of the control plane, its look and its metrics included
	turnWrites   = 3            // its lease, its report
	sweepReads   = 8            // of a look for old traffic, four times a day
	domainChecks = 30           // of a domain, one a day
	domainReads  = 255          // its checks, and half a renewal
	domainWrites = 130
	newReads     = 40 // a new domain, with its certificate
	newWrites    = 36
	newTurns     = 30   // until its certificate is there
	domainBytes  = 12e3 // with its certificate, plan, status and history

	minutes       = 30 * 24 * 60 // in each, the control plane looks whether something is due
	gathers       = minutes / 10 // what is planned is done together
	tickSeconds   = 0.02         // of a call that finds nothing to do
	turnSeconds   = 4            // quiet for three of them
	callSeconds   = 0.1          // of a call of the API
	controlMemory = 256          // MB

	edgeLine  = 300  // bytes that an edge logs a minute, with CloudWatch's 26 for each line
	callLines = 500  // by Lambda, of each call
	turnLines = 1000 // by the control plane
)

type tableUse struct{ reads, writes, gigabytes float64 }

func (d *Deployment) tableUse(l Load) tableUse {
	all, fresh, turns := float64(l.Domains), float64(l.NewDomains), l.turns()
	edges, regions := float64(d.edges()), float64(len(d.Regions))
	// Each edge is visited for all domains all the time. Where the table has replicas,
	// what it removes by its age counts as written in all others.
	traffic, old := trafficWrites(l.Domains), math.Ceil((recordBytes+all*trafficBytes)/1024)
	return tableUse{
		reads: edges*edgeReads + hours/6*sweepReads + minutes*tickReads + max(0, gathers-turns)*lookReads + turns*turnReads +
			all*domainReads + fresh*newReads,
		writes:    edges*(edgeWrites+hours*traffic+hours*old*(regions-1)/regions) + turns*turnWrites + all*domainWrites + fresh*newWrites,
		gigabytes: all * domainBytes / 1e9,
	}
}

// trafficWrites is what an edge's record of an hour's traffic costs: it is written every
// quarter of an hour if it is small, and less often if it is not.
func trafficWrites(domains int) float64 {
	units := math.Ceil((recordBytes + float64(domains)*trafficBytes) / 1024)
	switch {
	case domains < 30:
		return 4 * units
	case domains < 90:
		return 2 * units
	}
	return units
}

// turns is how many the control plane does: in each ten minutes in which a check is
// due, which they are at random, and for new domains at once; one an hour in any case.
func (l *Load) turns() float64 {
	checks := gathers * (1 - math.Exp(-float64(l.Domains*domainChecks)/gathers))
	return min(minutes, max(checks, 720)+float64(l.NewDomains*newTurns))
}
