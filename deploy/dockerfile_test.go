package deploy

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dockerfile is what the final stage of the Dockerfile says, by instruction.
type dockerfile struct {
	text  string
	final map[string][]string
}

func readDockerfile(t *testing.T) *dockerfile {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerfile{text: string(text)}
	for line := range strings.Lines(d.text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "FROM" {
			d.final = map[string][]string{}
		}
		if d.final != nil && name != "" && name != "#" {
			d.final[name] = append(d.final[name], rest)
		}
	}
	return d
}

func (d *dockerfile) one(t *testing.T, instruction string) string {
	t.Helper()
	if len(d.final[instruction]) != 1 {
		t.Fatalf("%s: %v", instruction, d.final[instruction])
	}
	return d.final[instruction][0]
}

func (d *dockerfile) user(t *testing.T) (user, group int) {
	t.Helper()
	u, g, _ := strings.Cut(d.one(t, "USER"), ":")
	user, err := strconv.Atoi(u)
	if err != nil {
		t.Fatalf("Kubernetes takes only a number for a user who is not root: %v", err)
	}
	group, err = strconv.Atoi(g)
	if err != nil || user == 0 || group == 0 {
		t.Fatalf("USER %s: %v", d.final["USER"], err)
	}
	return user, group
}

var list = regexp.MustCompile(`\[.*\]`)

// command returns a list of words in JSON: what runs without a shell.
func (d *dockerfile) command(t *testing.T, instruction string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(list.FindString(d.one(t, instruction))), &words); err != nil {
		t.Fatalf("%s: %v", instruction, err)
	}
	return words
}

func TestDockerfile_IsTheProgramAlone(t *testing.T) {
	t.Parallel()
	d := readDockerfile(t)
	if from := d.one(t, "FROM"); from != "scratch" {
		t.Errorf("FROM %s", from)
	}
	if got := d.command(t, "ENTRYPOINT"); !slices.Equal(got, []string{"/shingle"}) {
		t.Errorf("ENTRYPOINT %q", got)
	}
	user, group := d.user(t)
	data := readVerb(t, d.command(t, "CMD")[0]).settings["SHINGLE_DATA"]
	if d.one(t, "VOLUME") != data || d.one(t, "WORKDIR") != data {
		t.Errorf("VOLUME %s, WORKDIR %s, and data is in %s", d.one(t, "VOLUME"), d.one(t, "WORKDIR"), data)
	}
	owner := strconv.Itoa(user) + ":" + strconv.Itoa(group)
	if !slices.Contains(d.final["COPY"], "--from=build --chown="+owner+" /out/data "+data) {
		t.Errorf("%s is not %s's: %q", data, owner, d.final["COPY"])
	}
}

func TestDockerfile_PortsAreListenedOn(t *testing.T) {
	t.Parallel()
	d := readDockerfile(t)
	v := readVerb(t, d.command(t, "CMD")[0])
	https := strings.TrimPrefix(v.settings["SHINGLE_EDGE_HTTPS"], ":")
	want := []string{strings.TrimPrefix(v.settings["SHINGLE_EDGE_HTTP"], ":"), https, https + "/udp"}
	if got := strings.Fields(d.one(t, "EXPOSE")); !slices.Equal(got, want) {
		t.Errorf("EXPOSE %q, and it listens on %q", got, want)
	}
}

// TestDockerfile_BuildsWhatIsReleased: the program of an image is the one in dist, and
// tells its version.
func TestDockerfile_BuildsWhatIsReleased(t *testing.T) {
	t.Parallel()
	d := readDockerfile(t)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, option := range []string{"-buildvcs=true", "-trimpath", "-ldflags='-s -w -buildid='"} {
		for file, text := range map[string]string{"Dockerfile": d.text, "scripts/release": read("../scripts/release")} {
			if !strings.Contains(text, "go build ") || !strings.Contains(text, " "+option) {
				t.Errorf("%s does not build with %s", file, option)
			}
		}
	}
	for line := range strings.Lines(read("../.dockerignore")) {
		if strings.TrimSpace(line) == ".git" {
			t.Error(".dockerignore leaves out .git: the program would not know its version")
		}
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read("../go.mod"))[1]
	if !strings.Contains(d.text, "golang:"+language+" ") {
		t.Errorf("go.mod says Go %s, and the Dockerfile another", language)
	}
}
