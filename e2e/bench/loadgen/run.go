package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// report is what came of an order. Times in milliseconds.
type report struct {
	Requests int            `json:"requests"` // answered whole
	Errors   map[string]int `json:"errors"`   // the others, by kind
	Seconds  float64        `json:"seconds"`  // counted; for requests that are sent once, to the last answer
	First    quantiles      `json:"firstMillis"`
	Last     quantiles      `json:"lastMillis"`
	Host     map[string]int `json:"byTarget"` // answered whole
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// tape is what one connection has seen.
type tape struct {
	host        string
	first, last []time.Duration
	errors      map[string]int
}

func (t *tape) note(a answer) {
	if a.err != nil {
		t.errors[a.err.Error()]++
		return
	}
	t.first = append(t.first, a.first)
	t.last = append(t.last, a.last)
}

func (p plan) run() report {
	tapes := make([]tape, p.Connections)
	start := time.Now()
	counted := start.Add(time.Duration(p.WarmupSeconds * float64(time.Second)))
	end := counted.Add(time.Duration(p.Seconds * float64(time.Second)))
	var ticket atomic.Int64
	var all sync.WaitGroup
	for i := range tapes {
		host, request := p.of(i)
		tapes[i] = tape{host: host, errors: map[string]int{}}
		all.Go(func() {
			c := newClient(host, p.timeout, p.Stream)
			defer c.close()
			if p.Once {
				tapes[i].note(c.ask(request, time.Now()))
				return
			}
			for {
				due := time.Now()
				if p.Rate > 0 {
					due = p.turn(start, ticket.Add(1)-1, end)
				}
				if !due.Before(end) {
					return
				}
				if a := c.ask(request, due); !due.Before(counted) {
					tapes[i].note(a)
				} else if a.err != nil {
					tapes[i].note(a) // no failure is forgiven
				}
			}
		})
	}
	all.Wait()
	if p.Once {
		end, counted = time.Now(), start
	}
	return summary(tapes, end.Sub(counted))
}

// turn waits until the request with this number is due and returns when that was. A request that is late because
// all connections are busy counts from when it should have been sent; one whose timer was late does not.
func (p plan) turn(start time.Time, number int64, end time.Time) time.Time {
	due := start.Add(time.Duration(float64(number) / p.Rate * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return due
	}
	if due.After(end) {
		return end
	}
	time.Sleep(wait)
	return time.Now()
}

func summary(tapes []tape, counted time.Duration) report {
	r := report{Errors: map[string]int{}, Host: map[string]int{}, Seconds: counted.Seconds()}
	var first, last []time.Duration
	for _, t := range tapes {
		first, last = append(first, t.first...), append(last, t.last...)
		r.Host[t.host] += len(t.last)
		for kind, count := range t.errors {
			r.Errors[kind] += count
		}
	}
	r.Requests, r.First, r.Last = len(last), quantilesOf(first), quantilesOf(last)
	return r
}

// quantilesOf takes the nearest rank.
func quantilesOf(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		rank := min(len(times)-1, max(0, int(share*float64(len(times))+0.999999)-1))
		return float64(times[rank]) / float64(time.Millisecond)
	}
	return quantiles{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}
