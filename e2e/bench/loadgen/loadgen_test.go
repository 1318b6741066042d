package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const whole = `{"choices":[]}`

// server answers as told and counts what each model was asked.
type server struct {
	*httptest.Server
	mutex  sync.Mutex
	models map[string]int
	sizes  map[int]int
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	s := &server{models: map[string]int{}, sizes: map[int]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct{ Model string }
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Error(err)
		}
		s.mutex.Lock()
		s.models[asked.Model]++
		s.sizes[len(body)]++
		s.mutex.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func run(t *testing.T, o order) report {
	t.Helper()
	p, err := o.plan()
	if err != nil {
		t.Fatal(err)
	}
	return p.run()
}

func TestOnceAsksEachModelAtEachTargetAlike(t *testing.T) {
	a, b := serve(t, says(whole)), serve(t, says(whole))
	r := run(t, order{Targets: []string{a.URL, b.URL}, Models: []string{"x", "y"}, Connections: 8, Once: true, BodyBytes: 2000})
	want := map[string]int{"x": 2, "y": 2}
	if r.Requests != 8 || len(r.Errors) != 0 || !maps.Equal(a.models, want) || !maps.Equal(b.models, want) {
		t.Error(r, a.models, b.models)
	}
	if !maps.Equal(a.sizes, map[int]int{2000: 4}) {
		t.Error("sizes", a.sizes)
	}
}

func TestWhatDoesNotCountAsAnswered(t *testing.T) {
	for _, row := range []struct {
		name   string
		stream bool
		answer http.HandlerFunc
		want   string
	}{
		{"another status", false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "HTTP 503"},
		{"a body without choices", false, says(`{}`), "200 without choices"},
		{"a stream without [DONE]", true, says("data: {}\n\n"), "stream without an end"},
		{"a connection that breaks", false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, whole)
		}, "answer broken off"},
		{"no word at all", false, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no answer"},
		{"an answer that takes too long", false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer: timeout"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t, row.answer)
			r := run(t, order{Targets: []string{s.URL}, Models: []string{"x"}, Connections: 1, Stream: row.stream, Once: true, TimeoutSeconds: 0.2})
			if r.Requests != 0 || !maps.Equal(r.Errors, map[string]int{row.want: 1}) {
				t.Error(r)
			}
		})
	}
}

func TestALongStreamIsReadToItsEnd(t *testing.T) {
	s := serve(t, says(strings.Repeat("data: {\"choices\":[]}\n\n", 10_000)+"data: [DONE]\n\n"))
	if r := run(t, order{Targets: []string{s.URL}, Models: []string{"x"}, Connections: 2, Stream: true, Once: true}); r.Requests != 2 {
		t.Error(r)
	}
}

func TestRequestsAreDueAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan{order: order{Rate: 20}}
		start := time.Now()
		end := start.Add(time.Second)
		if due := p.turn(start, 5, end); due.Sub(start) != 250*time.Millisecond || !time.Now().Equal(due) {
			t.Error("the sixth of 20 a second was waited for until", due.Sub(start))
		}
		if due := p.turn(start, 2, end); due.Sub(start) != 100*time.Millisecond {
			t.Error("one that is late counts from when it should have been sent, not", due.Sub(start))
		}
		if due := p.turn(start, 21, end); !due.Equal(end) || time.Since(start) != 250*time.Millisecond {
			t.Error("nothing is waited for beyond the end", due.Sub(start))
		}
	})
}

func TestConnectionsStayOpen(t *testing.T) {
	var opened sync.Map
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { opened.Store(r.RemoteAddr, true); fmt.Fprint(w, whole) })
	r := run(t, order{Targets: []string{s.URL}, Models: []string{"x"}, Connections: 2, Seconds: 0.2})
	count := 0
	opened.Range(func(any, any) bool { count++; return true })
	if r.Requests < 10 || count != 2 {
		t.Error(r.Requests, count)
	}
}

func TestBadOrders(t *testing.T) {
	for _, row := range []struct {
		order order
		want  string
	}{
		{order{}, "expected targets, models and connections"},
		{order{Targets: []string{"http://h:1"}, Models: []string{"x"}, Connections: 1}, "expected either seconds or once"},
		{order{Targets: []string{"h"}, Models: []string{"x"}, Connections: 1, Once: true}, `target "h": expected http://host:port`},
	} {
		if _, err := row.order.plan(); err == nil || err.Error() != row.want {
			t.Error(err)
		}
	}
}

func TestQuantiles(t *testing.T) {
	times := make([]time.Duration, 100)
	for i := range times {
		times[99-i] = time.Duration(i+1) * time.Millisecond
	}
	if got := quantilesOf(times); got != (quantiles{P50: 50, P90: 90, P99: 99, Max: 100}) {
		t.Error(got)
	}
}
