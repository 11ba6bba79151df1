package shingle

import (
	"iter"
	"maps"
)

// Reason says in a word why a domain is in its state, or what a check found. It
// is stable: programs may switch on it.
type Reason string

// What DNS says of a host.
const (
	ReasonPointsHere      Reason = "points_here"      // by a CNAME, an address or a flattened alias
	ReasonProxied         Reason = "proxied"          // a proxy of the customer's is in front, and passes requests on to us
	ReasonNotRegistered   Reason = "not_registered"   // the registrable domain does not exist
	ReasonNoRecord        Reason = "no_record"        // the name does not exist, or has no address
	ReasonPointsElsewhere Reason = "points_elsewhere" // to addresses that are not ours
	ReasonPartlyElsewhere Reason = "partly_elsewhere" // some addresses are ours and others not
	ReasonIPv6Elsewhere   Reason = "ipv6_elsewhere"   // IPv4 is ours, IPv6 is not
	ReasonCDNInFront      Reason = "cdn_in_front"     // a CDN answers for the name, and does not pass requests on to us
	ReasonParked          Reason = "parked"           // a registrar's or a dealer's placeholder answers
	ReasonPrivateAddress  Reason = "private_address"  // an address that the Internet does not route
	ReasonCNAMELoop       Reason = "cname_loop"       // the aliases go round in a circle
	ReasonCNAMETooLong    Reason = "cname_too_long"   // more aliases than resolvers follow
	ReasonCNAMEBroken     Reason = "cname_broken"     // the alias leads to a name without an address
	ReasonDNSSECBogus     Reason = "dnssec_bogus"     // signatures do not verify: validating resolvers see nothing
	ReasonLameDelegation  Reason = "lame_delegation"  // no name server that the zone is delegated to knows it
	ReasonOtherTenant     Reason = "other_tenant"     // to the name that another tenant was given here
	ReasonPropagating     Reason = "propagating"      // name servers of the zone give different answers
	ReasonDNSTimeout      Reason = "dns_timeout"      // the zone's name servers do not answer
	ReasonDNSFailure      Reason = "dns_failure"      // the zone's name servers answer with a failure
	ReasonResolverFailure Reason = "resolver_failure" // our own resolvers do not answer
	ReasonTargetBroken    Reason = "target_broken"    // the operator's CNAME target has no address
	ReasonCAAAllows       Reason = "caa_allows"
	ReasonCAAForbids      Reason = "caa_forbids"    // a CAA record names other CAs, or conditions that we do not meet
	ReasonCAAUnreadable   Reason = "caa_unreadable" // the lookup fails, and a CA must then refuse (RFC 8659 section 3)
	ReasonWildcard        Reason = "wildcard"       // the answer may come from a wildcard record
	ReasonStaleCache      Reason = "stale_cache"    // resolvers still have an older answer than the name servers
	ReasonUnconfigured    Reason = "unconfigured"   // it is not known what customers are to point at
)

// What an HTTPS request to a host found.
const (
	ReasonHTTPSWorks         Reason = "https_works"         // our edge answers, with a certificate that visitors accept
	ReasonNotTried           Reason = "not_tried"           // DNS gives no address to try
	ReasonUnreachable        Reason = "unreachable"         // no connection
	ReasonHandshakeFailed    Reason = "handshake_failed"    // a connection, but no TLS
	ReasonCertificateInvalid Reason = "certificate_invalid" // for another name, expired, or of an unknown CA
	ReasonOtherServer        Reason = "other_server"        // an answer that is not our edge's
	ReasonRedirectLoop       Reason = "redirect_loop"
	ReasonMixedAnswers       Reason = "mixed_answers"   // some addresses are our edge and others not
	ReasonAddressRefused     Reason = "address_refused" // an address that the probe must not connect to
	ReasonOriginFailing      Reason = "origin_failing"  // our edge answers, but the product behind it fails
	ReasonNoHTTPRedirect     Reason = "no_http_redirect"
	ReasonExpiresSoon        Reason = "expires_soon" // the certificate was not renewed in time
)

// What the life of a domain brings about.
const (
	ReasonNotAdded           Reason = "not_added"           // DNS is in order, but the domain is not set up here
	ReasonNew                Reason = "new"                 // not checked yet
	ReasonServed             Reason = "served"              // all is well
	ReasonProofNeeded        Reason = "proof_needed"        // nothing shows that the name is this tenant's
	ReasonCertificateOrdered Reason = "certificate_ordered" // a certificate is being obtained
	ReasonCertificateFailed  Reason = "certificate_failed"  // the last attempt failed
	ReasonBlocked            Reason = "blocked"             // by the operator
	ReasonRemoved            Reason = "removed"
)

// Outcome is what a [Reason] means for whether a domain works.
type Outcome byte

// The outcomes.
const (
	// OutcomeUnclear says nothing: it could not be learned. An unknown reason
	// is unclear.
	OutcomeUnclear Outcome = iota
	OutcomeGood
	// OutcomePartly works for some visitors.
	OutcomePartly
	OutcomeBad
)

// reasons has what every reason means. Who of an unclear result is [WhoOperator]
// when the fault is on our side: it then says nothing about the domain.
var reasons = map[Reason]struct {
	outcome Outcome
	who     string
}{
	ReasonPointsHere:      {OutcomeGood, WhoNobody},
	ReasonProxied:         {OutcomeGood, WhoNobody},
	ReasonNotRegistered:   {OutcomeBad, WhoCustomer},
	ReasonNoRecord:        {OutcomeBad, WhoCustomer},
	ReasonPointsElsewhere: {OutcomeBad, WhoCustomer},
	ReasonPartlyElsewhere: {OutcomePartly, WhoCustomer},
	ReasonIPv6Elsewhere:   {OutcomePartly, WhoCustomer},
	ReasonCDNInFront:      {OutcomeBad, WhoCustomer},
	ReasonParked:          {OutcomeBad, WhoCustomer},
	ReasonPrivateAddress:  {OutcomeBad, WhoCustomer},
	ReasonCNAMELoop:       {OutcomeBad, WhoCustomer},
	ReasonCNAMETooLong:    {OutcomeBad, WhoCustomer},
	ReasonCNAMEBroken:     {OutcomeBad, WhoCustomer},
	ReasonDNSSECBogus:     {OutcomeBad, WhoCustomer},
	ReasonLameDelegation:  {OutcomeBad, WhoCustomer},
	ReasonOtherTenant:     {OutcomeBad, WhoCustomer},
	ReasonPropagating:     {OutcomePartly, WhoCustomer},
	ReasonDNSTimeout:      {OutcomeUnclear, WhoCustomer},
	ReasonDNSFailure:      {OutcomeUnclear, WhoCustomer},
	ReasonResolverFailure: {OutcomeUnclear, WhoOperator},
	ReasonTargetBroken:    {OutcomeUnclear, WhoOperator},
	ReasonUnconfigured:    {OutcomeUnclear, WhoOperator},
	ReasonCAAAllows:       {OutcomeGood, WhoNobody},
	ReasonCAAForbids:      {OutcomeBad, WhoCustomer},
	ReasonCAAUnreadable:   {OutcomeBad, WhoCustomer},
	ReasonWildcard:        {OutcomeGood, WhoNobody},
	ReasonStaleCache:      {OutcomeGood, WhoNobody},

	ReasonHTTPSWorks:         {OutcomeGood, WhoNobody},
	ReasonNotTried:           {OutcomeUnclear, WhoNobody},
	ReasonUnreachable:        {OutcomeBad, WhoOperator},
	ReasonHandshakeFailed:    {OutcomeBad, WhoOperator},
	ReasonCertificateInvalid: {OutcomeBad, WhoOperator},
	ReasonOtherServer:        {OutcomeBad, WhoCustomer},
	ReasonRedirectLoop:       {OutcomeBad, WhoCustomer},
	ReasonMixedAnswers:       {OutcomePartly, WhoOperator},
	ReasonAddressRefused:     {OutcomeUnclear, WhoCustomer},
	ReasonOriginFailing:      {OutcomeGood, WhoOperator},
	ReasonNoHTTPRedirect:     {OutcomeGood, WhoCustomer},
	ReasonExpiresSoon:        {OutcomeGood, WhoOperator},

	ReasonNotAdded:           {OutcomeBad, WhoOperator},
	ReasonNew:                {OutcomeUnclear, WhoNobody},
	ReasonServed:             {OutcomeGood, WhoNobody},
	ReasonProofNeeded:        {OutcomeBad, WhoCustomer},
	ReasonCertificateOrdered: {OutcomeGood, WhoNobody},
	ReasonCertificateFailed:  {OutcomeBad, WhoNobody},
	ReasonBlocked:            {OutcomeBad, WhoOperator},
	ReasonRemoved:            {OutcomeBad, WhoNobody},
}

// Outcome returns what r means for whether a domain works.
func (r Reason) Outcome() Outcome { return reasons[r].outcome }

// elsewhere reports whether r says that a name does not lead here, and nothing worse.
func (r Reason) elsewhere() bool {
	switch r {
	case ReasonNoRecord, ReasonPointsElsewhere, ReasonPartlyElsewhere, ReasonIPv6Elsewhere, ReasonCDNInFront, ReasonPrivateAddress,
		ReasonCNAMELoop, ReasonCNAMETooLong, ReasonCNAMEBroken, ReasonPropagating:
		return true
	}
	return false
}

// Who returns who must act when r is the reason: one of the Who constants.
func (r Reason) Who() string {
	if who := reasons[r].who; who != "" {
		return who
	}
	return WhoNobody
}

// Reasons returns all reasons, in no order.
func Reasons() iter.Seq[Reason] { return maps.Keys(reasons) }
