package dynamo_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

type attributes = map[string]types.AttributeValue

// damage has edit change the last item, by its sort key, that is takes.
func damage(t *testing.T, cfg dynamo.Config, is func(pk, sk, host string) bool, edit func(attributes)) {
	t.Helper()
	client := raw(cfg)
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &cfg.Table, ConsistentRead: aws.Bool(true)})
	check(t, err)
	text := func(i attributes, name string) string {
		if v, ok := i[name].(*types.AttributeValueMemberS); ok {
			return v.Value
		}
		return ""
	}
	var last attributes
	for _, i := range out.Items {
		if is(text(i, "pk"), text(i, "sk"), text(i, "host")) && (last == nil || text(i, "sk") > text(last, "sk")) {
			last = i
		}
	}
	if last == nil {
		t.Fatal("there is nothing to damage")
	}
	edit(last)
	_, err = client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &cfg.Table, Item: last})
	check(t, err)
}

// TestStore_Unreadable damages items as somebody with the console can.
func TestStore_Unreadable(t *testing.T) {
	cfg := config(t, storetest.DynamoDB)
	storetest.TestUnreadableDomains(t, func(t *testing.T, u *shingle.Unreadable) (shingle.DomainStore, []storetest.Damage) {
		cfg := cfg
		cfg.Table, cfg.Unreadable = config(t, storetest.DynamoDB).Table, u
		var list []storetest.Damage
		way := func(name string, edit func(attributes)) {
			list = append(list, storetest.Damage{
				Name: name,
				Row: func(t *testing.T, host string) {
					t.Helper()
					damage(t, cfg, func(pk, sk, _ string) bool { return strings.HasPrefix(pk, "domain#") && sk == host }, edit)
				},
				Change: func(t *testing.T, host string) {
					t.Helper()
					damage(t, cfg, func(pk, _, of string) bool { return strings.HasPrefix(pk, "change#") && of == host }, edit)
				},
			})
		}
		way("no version", func(i attributes) { delete(i, "version") })
		way("version", func(i attributes) { i["version"] = &types.AttributeValueMemberN{Value: "1.5"} })
		way("created", func(i attributes) { i["created"] = &types.AttributeValueMemberS{Value: "today"} })
		way("updated", func(i attributes) { delete(i, "updated") })
		way("tenant", func(i attributes) { i["tenant"] = &types.AttributeValueMemberS{Value: "a b/c"} })
		way("settings", func(i attributes) { i["settings"] = &types.AttributeValueMemberS{Value: `{"tags":`} })
		of := func(name string, edit func(attributes)) {
			way(name, func(i attributes) {
				if _, change := i["at"]; !change {
					delete(i, "version")
				} else {
					edit(i)
				}
			})
		}
		of("at", func(i attributes) { delete(i, "at") })
		of("prev", func(i attributes) { i["prev"] = &types.AttributeValueMemberS{Value: "1"} })
		of("made", func(i attributes) { delete(i, "made") })
		of("before", func(i attributes) { i["before"] = &types.AttributeValueMemberS{Value: `{`} })
		return newStore(t, cfg), list
	})
}

// TestStore_UnreadableHead has one log's end unreadable: it is read on, and the others are
// written on.
func TestStore_UnreadableHead(t *testing.T) {
	cfg := config(t, storetest.DynamoDB)
	cfg.Unreadable = shingle.NewUnreadable(storetest.Discard)
	s := newStore(t, cfg)
	create(t, s, "a.example.com")
	from, err := s.Head(t.Context())
	check(t, err)
	damage(t, cfg, func(pk, _, _ string) bool { return pk == "head" }, func(i attributes) { delete(i, "last") })
	written := 0
	for _, host := range []string{"b.example.com", "c.example.com", "d.example.com", "e.example.com", "f.example.com"} {
		if _, err := open(t, cfg).CreateDomain(t.Context(), shingle.Domain{Host: host}, time.Now()); err == nil {
			written++
		}
	}
	list, _, err := s.Changes(t.Context(), from, 100)
	if err != nil || len(list) != written || written == 0 {
		t.Errorf("%d changes of %d: %v", len(list), written, err)
	}
	if list, _, err := s.Changes(t.Context(), "", 100); err != nil || len(list) != written+1 {
		t.Errorf("%d changes from the beginning: %v", len(list), err)
	}
	if keys := cfg.Unreadable.Keys(); len(keys) != 1 || !strings.HasPrefix(keys[0], "head ") {
		t.Errorf("noted: %q", keys)
	}
}
