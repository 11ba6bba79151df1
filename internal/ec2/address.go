package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// addresses are the three calls of EC2's Query API about elastic addresses that an
// instance makes. The SDK's package for EC2, with its 700 calls, takes a minute and
// a half to compile; the signing is the SDK's.
type addresses struct {
	config   aws.Config
	endpoint string
	client   *http.Client
}

// address is an elastic address, as DescribeAddresses has it.
type address struct {
	AllocationID  string `xml:"allocationId"`
	AssociationID string `xml:"associationId"`
	InstanceID    string `xml:"instanceId"`
	PublicIP      string `xml:"publicIp"`
}

func newAddresses(config aws.Config, endpoint string) *addresses {
	if endpoint == "" {
		endpoint = "https://ec2." + config.Region + ".amazonaws.com"
	}
	return &addresses{config: config, endpoint: endpoint, client: &http.Client{Timeout: 10 * time.Second}}
}

// tagged returns the addresses with a tag.
func (a *addresses) tagged(ctx context.Context, name, value string) ([]address, error) {
	var out struct {
		Addresses []address `xml:"addressesSet>item"`
	}
	err := a.call(ctx, "DescribeAddresses", url.Values{"Filter.1.Name": {"tag:" + name}, "Filter.1.Value.1": {value}}, &out)
	return out.Addresses, err
}

// associate gives a free address to the instance. It fails when another has it.
func (a *addresses) associate(ctx context.Context, allocation, instance string) error {
	return a.call(ctx, "AssociateAddress", url.Values{"AllocationId": {allocation}, "InstanceId": {instance}, "AllowReassociation": {"false"}}, nil)
}

func (a *addresses) disassociate(ctx context.Context, association string) error {
	return a.call(ctx, "DisassociateAddress", url.Values{"AssociationId": {association}}, nil)
}

const maxAnswer = 1 << 20 // bytes

func (a *addresses) call(ctx context.Context, action string, form url.Values, out any) error {
	form.Set("Action", action)
	form.Set("Version", "2016-11-15")
	body := form.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	credentials, err := a.config.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("find AWS credentials: %w", err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "ec2", a.config.Region, time.Now()); err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fault(action, answer.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return xml.Unmarshal(data, out)
}

func fault(action string, status int, data []byte) error {
	var f struct {
		Code    string `xml:"Errors>Error>Code"`
		Message string `xml:"Errors>Error>Message"`
	}
	if xml.Unmarshal(data, &f) != nil || f.Code == "" {
		return fmt.Errorf("%s: AWS answered %d", action, status)
	}
	return fmt.Errorf("%s: %s: %s", action, f.Code, f.Message)
}
