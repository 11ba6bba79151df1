package shingle

// ConnectSetup is what an operator publishes so that DNS providers which speak Domain
// Connect enter customers' records for them.
type ConnectSetup struct {
	Provider  string   // the operator's domain, by which its templates are known
	KeyName   string   // of TXT records, in full
	KeyTexts  []string // their values
	Templates []ConnectTemplate
}

// ConnectTemplate is a template of Domain Connect.
type ConnectTemplate struct {
	File string // name, as the public repository of templates has it
	JSON []byte
}
