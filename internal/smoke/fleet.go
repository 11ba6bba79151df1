package smoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// answers asks for what needs no token.
func (x *Installation) answers(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, x.API+"/health", nil)
	if err != nil {
		return "", err
	}
	const do = "see the log of the process that serves the API; on AWS /shingle/STAGE/control in CloudWatch: aws logs tail"
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return "", &shingle.SmokeFault{Reason: "no answer: " + withoutURL(err), Do: do}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	switch {
	case resp.StatusCode == http.StatusForbidden:
		return "", &shingle.SmokeFault{Reason: fmt.Sprintf("%s: %s", resp.Status, text), Do: "see who may call the function's URL: both lambda:InvokeFunctionUrl and lambda:InvokeFunction are needed; shingle deploy grants them"}
	case resp.StatusCode != http.StatusOK:
		return "", &shingle.SmokeFault{Reason: fmt.Sprintf("%s: %s", resp.Status, text), Do: do}
	case strings.HasPrefix(text, "degraded"):
		return "", &shingle.SmokeFault{Reason: strings.ReplaceAll(text, "\n", ": "), Do: "it serves by what may be old: see that it reaches its store"}
	}
	return "it answers", nil
}

// token tries whether the token is taken.
func (x *Installation) token(ctx context.Context) (string, error) {
	const do = "shingle deploy --new-token makes one: put it into SHINGLE_TOKEN"
	if x.Client == nil {
		return "", &shingle.SmokeFault{Reason: "there is none", Do: do}
	}
	for _, err := range x.Client.Edges(ctx) {
		if errors.Is(err, shingle.ErrUnauthorized) {
			return "", &shingle.SmokeFault{Reason: err.Error(), Do: do}
		}
		if err != nil {
			return "", err
		}
		break
	}
	return "it is taken", nil
}

// edges holds what the processes said of themselves against what there is to be. One that
// has just begun says so, and says more after ten seconds.
func (x *Installation) edges(ctx context.Context) (found string, err error) {
	err = x.again(ctx, x.Settle, func() (err error) { found, err = x.reported(ctx); return err })
	return found, err
}

func (x *Installation) reported(ctx context.Context) (string, error) {
	var list []api.Edge
	for e, err := range x.Client.Edges(ctx) {
		if err != nil {
			return "", err
		}
		list = append(list, e)
	}
	serving, versions := map[string]int{}, []string{}
	var wrong []string
	for _, e := range list {
		switch {
		case len(e.Attention) > 0 && e.State != "silent": // who is silent was replaced, or is missing below
			wrong = append(wrong, e.ID+" in "+orHere(e.Region)+": "+strings.Join(e.Attention, ", "))
		case e.Role != "control" && e.State == "alive":
			serving[e.Region]++
			versions = append(versions, e.Version)
		}
	}
	all := 0
	for _, n := range serving {
		all += n
	}
	for region, wanted := range x.Edges {
		if serving[region] < wanted {
			wrong = append(wrong, fmt.Sprintf("in %s %d of %d edges are alive and of the API's version", region, serving[region], wanted))
		}
	}
	if all == 0 && x.Edges == nil {
		wrong = append(wrong, "no edge has reported itself")
	}
	slices.Sort(wrong)
	slices.Sort(versions)
	if len(wrong) > 0 {
		return "", &shingle.SmokeFault{Reason: strings.Join(wrong, "; "), Do: `shingle edges shows all; docs/edges.md says what each word means. They report within seconds of their start, and then every few minutes`}
	}
	return fmt.Sprintf("%d alive, %s", all, strings.Join(slices.Compact(versions), ", ")), nil
}

func orHere(region string) string {
	if region == "" {
		return "no region"
	}
	return region
}
