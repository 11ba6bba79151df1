package dynamo

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/shingle-proxy/shingle"
)

// item is an item of the table, or a part of one.
type item map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func key(partition, sort string) item { return item{"pk": text(partition), "sk": text(sort)} }

// partition names one of the partitions of a family.
func partition(family string, shard int) string { return fmt.Sprintf("%s#%02d", family, shard) }

func partitions(family string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = partition(family, i)
	}
	return list
}

// text returns a string attribute; empty when there is none.
func (i item) text(name string) string {
	if v, ok := i[name].(*types.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

func (i item) number(name string) (int64, error) {
	v, ok := i[name].(*types.AttributeValueMemberN)
	if !ok {
		return 0, shingle.RecordFault("it has no number " + name)
	}
	n, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil {
		err = shingle.RecordFault("its " + name + " is no whole number")
	}
	return n, err
}

func (i item) bytes(name string) []byte {
	if v, ok := i[name].(*types.AttributeValueMemberB); ok {
		return v.Value
	}
	return nil
}

func (i item) flag(name string) bool {
	v, ok := i[name].(*types.AttributeValueMemberBOOL)
	return ok && v.Value
}

func (i item) time(name string) (time.Time, error) {
	us, err := i.number(name)
	return time.UnixMicro(us).UTC(), err
}

// setDomain adds the fields of a domain. Empty ones are left out: they cost.
func (i item) setDomain(d *shingle.Domain) {
	for name, value := range map[string]string{"tenant": d.Tenant, "origin": d.Origin, "redirect": d.Redirect, "by": d.UpdatedBy, "settings": string(d.Settings)} {
		if value != "" {
			i[name] = text(value)
		}
	}
	if d.Paused {
		i["paused"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	if d.SetupGeneration != 0 {
		i["setups"] = number(d.SetupGeneration)
	}
	i["version"] = number(d.Version)
	i["created"], i["updated"] = number(d.CreatedAt.UnixMicro()), number(d.UpdatedAt.UnixMicro())
}

func (i item) domain(host string) (shingle.Domain, error) {
	d := shingle.Domain{
		Host: host, Tenant: i.text("tenant"), Origin: i.text("origin"), Redirect: i.text("redirect"), Paused: i.flag("paused"), UpdatedBy: i.text("by"),
		Settings: shingle.SettingsText(i.text("settings")),
	}
	var errs [4]error
	d.Version, errs[0] = i.number("version")
	d.CreatedAt, errs[1] = i.time("created")
	d.UpdatedAt, errs[2] = i.time("updated")
	if _, ok := i["setups"]; ok {
		d.SetupGeneration, errs[3] = i.number("setups")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return shingle.Domain{}, fmt.Errorf("decode domain %s: %w", host, err)
	}
	return d, nil
}

// expiry is the TTL attribute: DynamoDB deletes the item some time after it.
func expiry(t time.Time) types.AttributeValue { return number(t.Unix()) }
