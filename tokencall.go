package shingle

import "time"

// TokenCall is what the control plane's function on AWS is called with to take a token for
// everything that the caller has made. Its text stays with the caller, and the call may be
// repeated: the function takes one.
type TokenCall struct {
	Shingle string `json:"shingle"` // "token"
	ID      string `json:"id"`
	Name    string `json:"name"`
	Hash    []byte `json:"hash"` // SHA-256 of the text
}

// NewTokenCall makes a token, and the call that has it taken.
func NewTokenCall(now time.Time) (text string, call TokenCall) {
	text, t := NewToken(Token{Name: "deploy-" + now.UTC().Format("20060102-150405")}, now)
	return text, TokenCall{Shingle: "token", ID: t.ID, Name: t.Name, Hash: t.Hash[:]}
}

// Token is the token that is to be taken. It returns [ErrInvalid] for a call that has none.
func (c *TokenCall) Token() (Token, error) {
	t := Token{ID: c.ID, Name: c.Name, Role: RoleAdmin}
	if len(c.Hash) != len(t.Hash) {
		return t, Errorf(CodeInvalid, "the call has no hash of a token: deploy with the program that the function is")
	}
	copy(t.Hash[:], c.Hash)
	return t, nil
}
