package api

import "github.com/shingle-proxy/shingle"

// problemKind is a code as it is documented: on the reference page, and in
// docs/errors.md, which a test keeps in step.
type problemKind struct {
	Code    shingle.Code
	Status  int
	Meaning string
	Do      string
}

// problemKinds are all codes. They are stable: one may be added, none changes its
// meaning.
var problemKinds = []problemKind{
	kind(shingle.CodeInvalid, "The request cannot be accepted as it is; errors names the parts at fault. Also with the statuses of HTTP itself: 400, 405, 408, 413, 415", "Mend it; sent again it fails again"),
	kind(shingle.CodeUnauthorized, "No API token, an unknown one, or one that is revoked or expired", "Send a token that is good"),
	kind(shingle.CodeForbidden, "The token's role may not do this, or something else is to come first, which detail says", "Take another token, or do what detail says"),
	kind(shingle.CodeNotFound, "It is not there, or is not the tenant's whose token this is", "Look at the name"),
	kind(shingle.CodeExists, "A create met what is there already; or a request with this Idempotency-Key is at work", "Read what is there; with a key, try again after Retry-After"),
	kind(shingle.CodeConflict, "It changed since it was read (If-Match), or while the request was at work", "Read it again, and decide anew"),
	kind(shingle.CodeLimited, "A limit is reached: of the token, of wrong tokens, of checks, of a CA, of a tenant's domains", "Try again after Retry-After, or when detail says"),
	kind(shingle.CodeThrottled, "The store takes no more requests now", "Try again in a moment, with fewer at once"),
	kind(shingle.CodeUnavailable, "A part that Shingle depends on is out of reach. A write may have happened", "Try again later; for POST with the same Idempotency-Key"),
	kind(shingle.CodeUnreadable, "What is stored cannot be read: it is damaged, or was written by a newer version. Nothing was changed", "Tell the operator, who finds it by shingle store check"),
	kind(shingle.CodeInternal, "A fault of Shingle's; its log says more", "Tell the operator"),
}

func kind(code shingle.Code, meaning, do string) problemKind {
	return problemKind{Code: code, Status: statuses[code], Meaning: meaning, Do: do}
}
