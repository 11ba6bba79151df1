package certs

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plotFile is drawn from the figures in testdata, which simulations write when
// SHINGLE_SIM_SAVE is set:
//
//	SHINGLE_SIM=100000 SHINGLE_SIM_SAVE=1 go test -timeout 2h -run 'Sim_Quarter|Sim_Mass' ./internal/certs
//	SHINGLE_SIM=20000 SHINGLE_SIM_SAVE=1 go test -timeout 2h -run 'Sim_Import|SimPlot' ./internal/certs
const plotFile = "../../docs/images/orders-per-hour.svg"

// panel is one diagram of orders per hour.
type panel struct {
	name, title string
	every       int // hours between two marks of the time
	unit        string
	inUnit      int    // hours
	limit       int    // orders per hour; 0: none
	limitText   string // of the limit
}

var panels = []panel{
	{"steady", "100,000 certificates of all ages, 90 days: renewals", 10 * 24, "day", 24, 0, ""},
	{"revocation", "100,000 certificates revoked at once: renewals", 4, "hour", 1, 3600, "our own pace: 3,600 at once, then as many an hour"},
	{"import", "20,000 names imported, and one an hour by another tenant: new orders", 24, "day", 24, 100, "the CA's limit: 300 at once, then 100 an hour"},
}

// savePlot writes how many orders there were in each hour, when SHINGLE_SIM_SAVE is
// set.
func savePlot(t *testing.T, name string, ca *simCA, start time.Time, hours int) {
	if os.Getenv("SHINGLE_SIM_SAVE") == "" {
		return
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	counts := make([]int, hours)
	for _, a := range ca.accepted {
		if hour := int(a.at.Sub(start) / time.Hour); !a.at.Before(start) && hour < hours {
			counts[hour]++
		}
	}
	text := bytes.NewBufferString("hour,orders\n")
	for hour, n := range counts {
		fmt.Fprintf(text, "%d,%d\n", hour, n)
	}
	if err := os.WriteFile("testdata/orders-"+name+".csv", text.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}

func TestSimPlot_IsDrawnFromItsFigures(t *testing.T) {
	drawn := drawPlot(t)
	if os.Getenv("SHINGLE_SIM_SAVE") != "" {
		if err := os.WriteFile(filepath.FromSlash(plotFile), drawn, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := os.ReadFile(filepath.FromSlash(plotFile)); err != nil || !bytes.Equal(there, drawn) {
		t.Errorf("%s is another (%v): SHINGLE_SIM_SAVE=1 go test -run SimPlot ./internal/certs draws it", plotFile, err)
	}
}

// Sizes of the plot, in pixels.
const (
	plotWidth    = 760
	panelHeight  = 190
	diagramLeft  = 56
	diagramTop   = 38
	diagramRight = plotWidth - 16
	diagramTall  = 116
)

func drawPlot(t *testing.T) []byte {
	var out bytes.Buffer
	height := panelHeight * len(panels)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Orders per hour in simulations">
<style>
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #57606a }
  .title { font-size: 13px; font-weight: 600; fill: #1f2328 }
  .ground { fill: #ffffff } .grid { stroke: #d8dee4; stroke-width: 1 }
  .orders { fill: #0969da; fill-opacity: .28; stroke: #0969da; stroke-width: 1 }
  .limit { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 6 4 } .about { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title { fill: #f0f6fc }
    .ground { fill: #0d1117 } .grid { stroke: #30363d }
    .orders { fill: #58a6ff; stroke: #58a6ff } .limit { stroke: #f0883e } .about { fill: #f0883e }
  }
</style>
<rect class="ground" width="%d" height="%d"/>
`, plotWidth, height, plotWidth, height, plotWidth, height)
	for n, p := range panels {
		p.draw(&out, readCounts(t, p.name), n*panelHeight)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func readCounts(t *testing.T, name string) (counts []int) {
	t.Helper()
	text, err := os.ReadFile("testdata/orders-" + name + ".csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, n)
	}
	return counts
}

func (p *panel) draw(out *bytes.Buffer, counts []int, top int) {
	most := p.limit
	for _, n := range counts {
		most = max(most, n)
	}
	step := roundStep(most)
	highest := (most + step - 1) / step * step
	ground := top + diagramTop + diagramTall
	x := func(hour int) float64 {
		return diagramLeft + float64(hour)/float64(len(counts))*(diagramRight-diagramLeft)
	}
	y := func(n int) float64 { return float64(ground) - float64(n)/float64(highest)*diagramTall }

	fmt.Fprintf(out, `<text class="title" x="%d" y="%d">%s, per hour</text>`+"\n", diagramLeft, top+22, p.title)
	for n := 0; n <= highest; n += step {
		fmt.Fprintf(out, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			diagramLeft, diagramRight, y(n), y(n), diagramLeft-8, y(n)+4, thousands(n))
	}
	for hour := 0; hour <= len(counts); hour += p.every {
		label := strconv.Itoa(hour / p.inUnit)
		if hour == 0 {
			label = p.unit + " 0"
		}
		fmt.Fprintf(out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(hour), ground+18, label)
	}
	path := []string{fmt.Sprintf("M%d %d", diagramLeft, ground)}
	for hour, n := range counts {
		path = append(path, fmt.Sprintf("L%.1f %.1fL%.1f %.1f", x(hour), y(n), x(hour+1), y(n)))
	}
	fmt.Fprintf(out, `<path class="orders" d="%sL%d %dZ"/>`+"\n", strings.Join(path, ""), diagramRight, ground)
	if p.limit > 0 {
		fmt.Fprintf(out, `<line class="limit" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="about" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			diagramLeft, diagramRight, y(p.limit), y(p.limit), diagramRight, y(p.limit)-6, p.limitText)
	}
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// roundStep returns the least of 1, 2 or 5 times a power of ten that makes at most
// four steps to most.
func roundStep(most int) int {
	for power := 1; ; power *= 10 {
		for _, times := range []int{1, 2, 5} {
			if step := times * power; most <= 4*step {
				return step
			}
		}
	}
}
