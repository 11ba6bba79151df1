package aws

import (
	_ "embed"
	"encoding/json"
	"slices"
	"sync"
)

//go:embed prices.json
var pricesJSON []byte

// PriceTable is what AWS asks for, as noted on a day for one region. Others cost
// up to a third more (sa-east-1: twice as much).
type PriceTable struct {
	Noted  string  `json:"noted"` // date
	Region string  `json:"region"`
	Prices []Price `json:"prices"`
}

// Price is that of one thing.
type Price struct {
	ID     string  `json:"id"`
	USD    float64 `json:"usd"`
	Per    string  `json:"per"`
	Free   float64 `json:"free"` // of that many of Per AWS never bills, a month and account
	Source string  `json:"source"`
}

// Prices returns the table that is part of Shingle.
var Prices = sync.OnceValue(func() PriceTable {
	var t PriceTable
	if err := json.Unmarshal(pricesJSON, &t); err != nil {
		panic("prices.json: " + err.Error()) // a test reads it
	}
	return t
})

func (t PriceTable) find(id string) (Price, bool) {
	i := slices.IndexFunc(t.Prices, func(p Price) bool { return p.ID == id })
	if i < 0 {
		return Price{}, false
	}
	return t.Prices[i], true
}
