package aws

import (
	"encoding/json"
	"fmt"
)

// Template is a CloudFormation template.
type Template struct {
	Version     string               `json:"AWSTemplateFormatVersion"`
	Description string               `json:"Description"`
	Parameters  map[string]Parameter `json:"Parameters,omitempty"`
	Resources   map[string]Resource  `json:"Resources"`
	Outputs     map[string]Output    `json:"Outputs,omitempty"`
}

// Parameter is what must be known before a stack is made.
type Parameter struct {
	Type           string `json:"Type"`
	Description    string `json:"Description"`
	Default        string `json:"Default,omitempty"`
	AllowedPattern string `json:"AllowedPattern,omitempty"`
}

// Resource is a thing that CloudFormation makes.
type Resource struct {
	Type                string   `json:"Type"`
	DependsOn           []string `json:"DependsOn,omitempty"`
	DeletionPolicy      string   `json:"DeletionPolicy,omitempty"`
	UpdateReplacePolicy string   `json:"UpdateReplacePolicy,omitempty"`
	CreationPolicy      props    `json:"CreationPolicy,omitempty"`
	UpdatePolicy        props    `json:"UpdatePolicy,omitempty"`
	Properties          props    `json:"Properties,omitempty"`
}

// Output is what others need to know of a stack.
type Output struct {
	Description string `json:"Description"`
	Value       any    `json:"Value"`
}

// props are properties in the words of CloudFormation, with intrinsic functions
// as values.
type props map[string]any

// JSON returns the template as CloudFormation takes it: the same bytes for the
// same template.
func (t *Template) JSON() []byte {
	out, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("template %s: %v", t.Description, err)) // maps, slices, strings and numbers
	}
	return append(out, '\n')
}

func ref(name string) props      { return props{"Ref": name} }
func attr(name, of string) props { return props{"Fn::GetAtt": []string{name, of}} }
func sub(format string) props    { return props{"Fn::Sub": format} }
func base64(v any) props         { return props{"Fn::Base64": v} }
func zoneOf(i int) props         { return props{"Fn::Select": []any{i, props{"Fn::GetAZs": ""}}} }
func text(what string) Parameter { return Parameter{Type: "String", Description: what} }

// retained has a resource stay whatever happens to its stack. The rollback of its own
// creation alone deletes it: what was never used is not left behind, where it would
// cost, and stand in the way of the next attempt.
func retained(r Resource) Resource {
	r.DeletionPolicy, r.UpdateReplacePolicy = "RetainExceptOnCreate", "Retain"
	return r
}

// statement is one of an IAM policy that allows.
func statement(actions []string, resources ...any) props {
	return props{"Effect": "Allow", "Action": actions, "Resource": resources}
}

func policy(statements ...props) props {
	return props{"Version": "2012-10-17", "Statement": statements}
}

// trust lets a service take a role.
func trust(service string) props {
	return policy(props{"Effect": "Allow", "Action": []string{"sts:AssumeRole"}, "Principal": props{"Service": service}})
}
