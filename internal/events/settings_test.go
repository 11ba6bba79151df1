package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
)

// TestChanged_FitsWhateverIsSet has all settings as long as they can be.
func TestChanged_FitsWhateverIsSet(t *testing.T) {
	row := func(fill string) shingle.Domain {
		members := map[string]string{}
		for i := range 14 { // no more can be set
			members[fmt.Sprint("long setting ", i)] = strings.Repeat(fill, maxSetting-2)
		}
		text, _ := json.Marshal(members)
		return shingle.Domain{
			Host: "a.example.com", Tenant: strings.Repeat("t", shingle.MaxTenant), Origin: strings.Repeat("o", shingle.MaxOrigin),
			Redirect: strings.Repeat("r", shingle.MaxHost), Settings: shingle.SettingsText(text),
		}
	}
	e := changed(&shingle.Change{Host: "a.example.com", Before: row("a"), Domain: row("b")})
	if len(e.Data) > shingle.MaxEventData {
		t.Errorf("%d bytes", len(e.Data))
	}
	e = changed(&shingle.Change{Host: "a.example.com", Domain: shingle.Domain{Settings: shingle.SettingsText(`{"metadata":{"x":"` + strings.Repeat("x", 600) + `"},"tags":["a"]}`)}})
	if got := string(e.Data); !strings.Contains(got, `"settings":{"metadata":{"bytes":608,"sha256":"`) || !strings.Contains(got, `"tags":["a"]`) {
		t.Errorf("got %s", got)
	}
}
