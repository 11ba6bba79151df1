package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/shingle-proxy/shingle"
)

// maxSetting bounds a setting in an event, in bytes. Two rows of them, each with all
// settings that there are, stay below [shingle.MaxEventData].
const maxSetting = 400

// longSetting stands for a setting that is longer: that it changed can be seen, and
// to what can be proved.
type longSetting struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"` // of the JSON
}

// settings returns a row's settings by their names, long ones as a [longSetting].
func settings(text shingle.SettingsText) map[string]json.RawMessage {
	if text == "" {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return nil // no row has such
	}
	for name, value := range members {
		if len(value) > maxSetting {
			sum := sha256.Sum256(value)
			members[name], _ = json.Marshal(longSetting{Bytes: len(value), SHA256: hex.EncodeToString(sum[:])}) // numbers and strings always can
		}
	}
	return members
}
