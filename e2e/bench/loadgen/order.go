package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// order is what to ask, of whom, and how long. Requests go round the models, then round the targets.
type order struct {
	Targets     []string `json:"targets"` // http://host:port
	Models      []string `json:"models"`
	Connections int      `json:"connections"`
	Stream      bool     `json:"stream"`
	MaxTokens   int      `json:"maxTokens"`
	BodyBytes   int      `json:"bodyBytes"` // least size of a body
	// Either a time: each connection asks again as soon as it is answered, or at Rate requests per second of all
	// connections together; what is asked in the first WarmupSeconds does not count.
	WarmupSeconds float64 `json:"warmupSeconds"`
	Seconds       float64 `json:"seconds"`
	Rate          float64 `json:"rate"` // 0: as fast as it goes
	// Or a number: each connection asks once.
	Once           bool    `json:"once"`
	TimeoutSeconds float64 `json:"timeoutSeconds"` // for one answer; default 30
}

// plan is an order with its requests as bytes: for connection i those of targets[i%len].
type plan struct {
	order
	hosts    []string
	requests [][]byte
	timeout  time.Duration
}

func (o order) plan() (plan, error) {
	p := plan{order: o, timeout: time.Duration(o.TimeoutSeconds * float64(time.Second))}
	if len(o.Targets) == 0 || len(o.Models) == 0 || o.Connections < 1 {
		return p, errors.New("expected targets, models and connections")
	}
	if o.Once == (o.Seconds > 0) {
		return p, errors.New("expected either seconds or once")
	}
	if p.timeout <= 0 {
		p.timeout = 30 * time.Second
	}
	for _, target := range o.Targets {
		u, err := url.Parse(target)
		if err != nil || u.Scheme != "http" || u.Port() == "" {
			return p, fmt.Errorf("target %q: expected http://host:port", target)
		}
		p.hosts = append(p.hosts, u.Host)
		for _, model := range o.Models {
			body, err := o.body(model)
			if err != nil {
				return p, err
			}
			p.requests = append(p.requests, fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", u.Host, len(body), body))
		}
	}
	return p, nil
}

// body fills up with a field that no engine reads: a prompt of that length would not fit its context.
func (o order) body(model string) ([]byte, error) {
	asked := map[string]any{
		"model":    model,
		"stream":   o.Stream,
		"messages": []map[string]string{{"role": "user", "content": "What is the capital of France?"}},
	}
	if o.MaxTokens > 0 {
		asked["max_tokens"] = o.MaxTokens
	}
	plain, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	const field = `"user":"",`
	if lacking := o.BodyBytes - len(plain) - len(field); lacking > 0 {
		asked["user"] = text(lacking)
	}
	return json.Marshal(asked)
}

// text returns lines, as people write them, that have so many bytes as JSON.
func text(size int) string {
	const line = "Here is some more of what the question is about, and the next line has the rest.\n"
	const encoded = len(line) + 1
	return strings.Repeat(line, size/encoded) + strings.Repeat("x", size%encoded)
}

// of returns whom the connection asks, and what.
func (p plan) of(connection int) (host string, request []byte) {
	model := connection % len(p.Models)
	target := connection / len(p.Models) % len(p.hosts)
	return p.hosts[target], p.requests[target*len(p.Models)+model]
}
