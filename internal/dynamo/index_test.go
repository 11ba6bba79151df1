package dynamo_test

import (
	"errors"
	"fmt"
	"slices"
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

// TestIndex_OrdersWhatOlderVersionsWrote has rows without their places, as before there
// were any, and one more that an old process writes while the fleet is being updated.
func TestIndex_OrdersWhatOlderVersionsWrote(t *testing.T) {
	const many, step = 25, 10
	cfg, now := config(t, storetest.DynamoDB), time.Now()
	cfg.Now, cfg.IndexStep = func() time.Time { return now }, step
	old := newStore(t, cfg)
	var rows []shingle.Domain
	for i := range many {
		at := now.Add(-time.Duration(i+1) * time.Second).Truncate(time.Microsecond).UTC()
		rows = append(rows, shingle.Domain{Host: fmt.Sprintf("n%04d.customer.com", i), Tenant: "acme", Version: 1, CreatedAt: at, UpdatedAt: at})
	}
	if err := old.LoadDomains(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	forget(t, cfg)

	s := open(t, cfg)
	newest := shingle.DomainQuery{Tenant: "acme", Order: shingle.NewestFirst, Limit: 1000}
	if _, err := s.FindDomains(t.Context(), newest); !errors.Is(err, shingle.ErrUnavailable) {
		t.Fatalf("a list of some is given for one of all: %v", err)
	}
	if all, err := s.FindDomains(t.Context(), shingle.DomainQuery{Limit: 1000}); err != nil || len(all) != many {
		t.Fatalf("all by host: %d, %v", len(all), err)
	}
	again := index(t, s, now)
	list, err := s.FindDomains(t.Context(), newest)
	if err != nil || len(list) != many || !slices.EqualFunc(list, rows, func(a, b shingle.Domain) bool { return a.Host == b.Host }) {
		t.Fatalf("%d newest first, %v", len(list), err)
	}

	if err := old.LoadDomains(t.Context(), []shingle.Domain{{Host: "late.customer.com", Version: 1, CreatedAt: now, UpdatedAt: now}}); err != nil {
		t.Fatal(err)
	}
	forget(t, cfg)
	for now = again; !again.IsZero(); {
		again = index(t, s, now)
	}
	list, err = s.FindDomains(t.Context(), shingle.DomainQuery{Order: shingle.NewestFirst, Limit: 1000})
	if err != nil || len(list) != many+1 || list[0].Host != "late.customer.com" {
		t.Fatalf("%d newest first, %v", len(list), err)
	}
}

// index calls Index until it wants to wait, and returns until when.
func index(t *testing.T, s *dynamo.Store, now time.Time) time.Time {
	t.Helper()
	for {
		again, err := s.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again.IsZero() || again.After(now) {
			return again
		}
	}
}

// forget deletes the places in a table.
func forget(t *testing.T, cfg dynamo.Config) {
	t.Helper()
	api := dynamodb.New(dynamodb.Options{Region: cfg.Region, BaseEndpoint: &cfg.Endpoint, Credentials: cfg.Credentials})
	pages := dynamodb.NewScanPaginator(api, &dynamodb.ScanInput{TableName: &cfg.Table, ProjectionExpression: aws.String("pk, sk")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			pk := i["pk"].(*types.AttributeValueMemberS).Value
			if family, _, _ := strings.Cut(pk, "#"); !slices.Contains([]string{"made", "of", "madeof"}, family) {
				continue
			}
			if _, err := api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &cfg.Table, Key: i}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
