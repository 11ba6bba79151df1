package app

import "context"

// Serve runs what cfg's role says on real networks. ready is called when
// requests are answered.
func Serve(ctx context.Context, cfg Config, ready func(l *Listeners, tokenPath string)) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	l, err := Listen(&cfg)
	if err != nil {
		return err
	}
	a, err := New(ctx, cfg, l)
	if err != nil {
		return err
	}
	return a.Run(ctx, func() error {
		ready(l, a.TokenPath())
		return nil
	})
}
