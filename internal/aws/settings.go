package aws

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Settings are what processes of the stage are set to besides what the deployment sets
// by itself: environment variables, as shingle control and shingle edge read them. They are
// readable in the templates: a secret is none.
type Settings struct {
	Control map[string]string `json:",omitempty"` // of the function
	Edge    map[string]string `json:",omitempty"`
}

var (
	settingName = regexp.MustCompile(`^SHINGLE_[A-Z0-9_]{1,64}$`)
	// settingValue is what means the same in a line of an environment file of systemd, in a
	// script and in a template.
	settingValue = regexp.MustCompile("^[^\\x00-\\x1f\\x7f\"'`\\\\$]{1,1000}$")
	dns01Host    = regexp.MustCompile(`^route53:(Z[A-Z0-9]{1,31})$`)
)

// settled are what the deployment sets, or what would part its processes.
var settled = []string{
	"SHINGLE_AGREE_TERMS", "SHINGLE_BLOBS", "SHINGLE_BLOBS_REGION", "SHINGLE_CNAME_TARGET", "SHINGLE_CONTROL", "SHINGLE_DATA",
	"SHINGLE_EDGE_HTTP", "SHINGLE_EDGE_HTTPS", "SHINGLE_EMAIL", "SHINGLE_HOME_REGION", "SHINGLE_MASTER_KEY", "SHINGLE_PUBLIC_PORT",
	"SHINGLE_S3_ENDPOINT", "SHINGLE_TABLE", "SHINGLE_TABLE_REGION", "SHINGLE_TARGET",
	"SHINGLE_CONTROL_URL", "SHINGLE_DOMAIN_CONNECT", "SHINGLE_EDGE_ADDRESS", "SHINGLE_OIDC_CLIENT_ID", "SHINGLE_OIDC_CLIENT_SECRET",
	"SHINGLE_OIDC_ISSUER", "SHINGLE_OIDC_ROLE", "SHINGLE_SERVICE_NAME", "SHINGLE_SUPPORT",
}

func (d *Deployment) validateSettings(f *faults) {
	for _, of := range []map[string]string{d.Settings.Control, d.Settings.Edge} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			switch {
			case !settingName.MatchString(name):
				f.add("set", "%q is no environment variable of Shingle", name)
			case slices.Contains(settled, name) || strings.HasPrefix(name, "SHINGLE_AWS_"):
				f.add("set", "%s is for the deployment to set, by its own flags", name)
			case !settingValue.MatchString(of[name]):
				f.add("set", "the value of %s is empty, too long, or has a quote, a backslash, $ or a line break in it", name)
			case name == "SHINGLE_DNS01_PROVIDER" && !dns01Host.MatchString(of[name]):
				f.add("set", "dns01-provider: name the zone by its ID, such as route53:Z0123456789ABC: the stage gets rights on it alone")
			}
		}
	}
}

// dns01Rights are those on the zone in which a process answers DNS-01 validations.
func dns01Rights(settings map[string]string) []props {
	zone := dns01Host.FindStringSubmatch(settings["SHINGLE_DNS01_PROVIDER"])
	if zone == nil {
		return nil
	}
	return []props{
		statement([]string{"route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"}, sub("arn:${AWS::Partition}:route53:::hostedzone/"+zone[1])),
		statement([]string{"route53:GetChange"}, sub("arn:${AWS::Partition}:route53:::change/*")),
	}
}
