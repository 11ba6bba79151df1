package kit

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

func TestTexts_NoLanguageLacksAKey(t *testing.T) {
	for _, language := range Languages {
		for key, text := range texts[Languages[0]] {
			theirs, ok := texts[language][key]
			if !ok || strings.TrimSpace(theirs) == "" {
				t.Errorf("%s has no text %s", language, key)
				continue
			}
			want, got := placeholder.FindAllString(text, -1), placeholder.FindAllString(theirs, -1)
			slices.Sort(want)
			slices.Sort(got)
			if want, got = slices.Compact(want), slices.Compact(got); !slices.Equal(want, got) {
				t.Errorf("%s: %s is about %q, and should be about %q", language, key, got, want)
			}
		}
		for key := range texts[language] {
			if _, ok := texts[Languages[0]][key]; !ok {
				t.Errorf("%s has a text %s that nobody needs", language, key)
			}
		}
	}
}

func TestTexts_EveryReasonIsExplained(t *testing.T) {
	for r := range shingle.Reasons() {
		if _, ok := texts["en"][reasonKey(r)]; !ok {
			t.Errorf("there is no text for %s", r)
		}
		if key := reasonKey(r); key == "reason.ours" && r.Who() == shingle.WhoCustomer {
			t.Errorf("%s is the customer's to mend, and we say that it is ours", r)
		}
	}
}

// TestTexts_AreUsed finds keys in the code that there are no texts for, and texts that
// nothing uses.
func TestTexts_AreUsed(t *testing.T) {
	var code strings.Builder
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".html") {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(data)
		}
	}
	for key := range texts["en"] {
		generated := strings.HasPrefix(key, "reason.") || strings.HasPrefix(key, "step.is.") || strings.HasPrefix(key, "gone.")
		if !generated && !strings.Contains(code.String(), `"`+key+`"`) {
			t.Errorf("nothing uses %s", key)
		}
	}
	for _, m := range regexp.MustCompile(`Say "([a-z.A-Z]+)"`).FindAllStringSubmatch(code.String(), -1) {
		if _, ok := texts["en"][m[1]]; !ok {
			t.Errorf("there is no text %s", m[1])
		}
	}
}

// TestTexts_FrenchSignsStayWithTheirWords: a line must not begin with a colon.
func TestTexts_FrenchSignsStayWithTheirWords(t *testing.T) {
	for key, text := range texts["fr"] {
		for _, apart := range []string{" :", " ;", " !", " ?", "« ", " »"} {
			if strings.Contains(text, apart) {
				t.Errorf("%s has %q with a space that breaks", key, apart)
			}
		}
	}
}
