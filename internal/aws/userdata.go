package aws

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
)

// Unit is the systemd unit of an edge.
//
//go:embed shingle.service
var Unit string

// Sysctl lets an edge have the buffers that bursts of HTTP/3 need.
//
//go:embed sysctl.conf
var Sysctl string

// userData is what a new instance runs: it fetches the stage's binary, holds it
// against its hash, and starts it. Everything else the binary does itself.
func (d *Deployment) userData(r Region) any {
	var b strings.Builder
	b.WriteString("#!/bin/bash\nset -euo pipefail\n")
	b.WriteString("binary=/usr/local/bin/shingle\n")
	b.WriteString("for try in 1 2 3 4 5 6; do\n")
	b.WriteString("  aws s3 cp --only-show-errors --region ${AWS::Region} s3://${Bucket}/edge/${BinarySHA256} $binary.new && break\n")
	b.WriteString("  sleep 5\ndone\n")
	b.WriteString("echo '${BinarySHA256}  '$binary.new | sha256sum --check --status\n")
	b.WriteString("chmod 755 $binary.new\nmv $binary.new $binary\n")
	b.WriteString("useradd --system --home-dir /var/lib/shingle --shell /sbin/nologin shingle\n")
	b.WriteString("install -d -m 755 /etc/shingle\n")
	b.WriteString("cat >/etc/shingle/environment <<'END'\n")
	for _, line := range d.edgeEnvironment(r) {
		b.WriteString(line + "\n")
	}
	b.WriteString("END\n")
	b.WriteString("cat >/etc/systemd/system/shingle.service <<'END'\n" + Unit + "END\n")
	b.WriteString("cat >/etc/sysctl.d/60-shingle.conf <<'END'\n" + Sysctl + "END\n")
	b.WriteString("sysctl --quiet --load=/etc/sysctl.d/60-shingle.conf || echo 'HTTP/3 goes on with small buffers'\n")
	b.WriteString("systemctl daemon-reload\nsystemctl enable --now shingle\n")
	return sub(b.String())
}

// edgeEnvironment are the lines of an edge's environment file, in which ${NAME}
// is a parameter of the stack.
func (d *Deployment) edgeEnvironment(r Region) (lines []string) {
	e := d.environment(r.Name)
	if d.MasterKey == MasterKeyKMS {
		e["SHINGLE_MASTER_KEY"] = "kms:${MasterKeyArn}"
		if d.replicates(r.Name) {
			e["SHINGLE_MASTER_KEY"] += "@${AWS::Region}"
		}
	}
	e["SHINGLE_REPORT"] = "5m" // the group replaces an instance that is gone sooner than an operator looks
	e["SHINGLE_POLL"] = "1s"   // every edge knows of a change within a second, for half of what the default costs
	e["SHINGLE_AWS_LOG"] = d.edgeLog()
	e["SHINGLE_AWS_GROUP"], e["SHINGLE_AWS_STACK"] = d.name("edges"), "${AWS::StackId}"
	if d.Front == FrontAccelerator {
		e["SHINGLE_AWS_ENDPOINT_GROUPS"] = "${EndpointsTCP},${EndpointsUDP}"
	} else {
		e["SHINGLE_AWS_ADDRESSES"] = d.Stage
	}
	maps.Copy(e, d.Settings.Edge)
	for _, name := range slices.Sorted(maps.Keys(e)) {
		lines = append(lines, name+"="+e[name])
	}
	return lines
}
