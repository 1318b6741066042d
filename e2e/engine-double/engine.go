package main

import (
	"context"
	"strings"
	"sync"
	"time"
)

// engine admits requests and paces their tokens. It knows nothing of HTTP.
type engine struct {
	options
	metrics *metrics
	life    context.Context // ends when running requests must end
	slots   chan struct{}   // one for each sequence that may run at a time

	mutex    sync.Mutex
	draining bool
	open     int           // requests begun and not finished
	idle     chan struct{} // closed when draining and none is open
	begun    int           // requests so far, refused ones too
}

// ending is how a request finished: vLLM's finished_reason.
type ending string

const (
	endStop   ending = "stop"
	endLength ending = "length"
	endAbort  ending = "abort"
	endError  ending = "error"
)

var sentence = strings.Fields("The engine double has read your words and answers with its own .")

func newEngine(life context.Context, o options) *engine {
	return &engine{
		options: o,
		metrics: newMetrics(o.names[0], o.maxNumSeqs, time.Now()),
		life:    life,
		slots:   make(chan struct{}, max(1, o.maxNumSeqs)),
		idle:    make(chan struct{}),
	}
}

// begin takes a request in and says which one it is, from 1. It is false once the engine drains; each true
// needs one finish.
func (e *engine) begin() (int, bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.begun++
	if e.draining {
		return e.begun, false
	}
	e.open++
	return e.begun, true
}

func (e *engine) finish() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.open--
	if e.draining && e.open == 0 {
		close(e.idle)
	}
}

func (e *engine) unfinished() int {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.open
}

// drain refuses new requests and returns when none is open, or after the timeout.
func (e *engine) drain(timeout time.Duration) {
	e.mutex.Lock()
	e.draining = true
	none := e.open == 0
	e.mutex.Unlock()
	if none {
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-e.idle:
	case <-timer.C:
	}
}

// strikes says whether the fault of this kind hits the request with this number.
func (e *engine) strikes(kind string, number int) bool {
	return e.fault.kind == kind && number%e.fault.every == 0
}

// task is one request as the engine sees it. Lengths in tokens.
type task struct {
	prompt int
	length int
	ending ending // when it comes to its end
}

// plan decides the length of an answer; asked is nil where the request names none.
func (e *engine) plan(prompt int, asked *int) task {
	if asked == nil {
		return task{prompt: prompt, length: e.maxTokens, ending: endStop}
	}
	return task{prompt: prompt, length: max(1, *asked), ending: endLength}
}

// generate hands each token to emit at its time and returns how the request ended and how many tokens it got.
// It ends early when the client goes, the engine's life ends, or emit is false. A task without tokens takes the
// time of a first one.
func (e *engine) generate(client context.Context, t task, emit func(index int, token string) bool) (ending, int) {
	ctx, cancel := context.WithCancel(client)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()

	arrived := time.Now()
	e.metrics.wait()
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		e.metrics.leaveQueue(endAbort)
		return endAbort, 0
	}
	e.metrics.start(time.Since(arrived), t.prompt)

	ended, count := t.ending, 0
	due, last := time.Now().Add(e.ttft), time.Now()
	if t.length == 0 && !sleep(ctx, e.ttft) {
		ended = endAbort
	}
	for ; count < t.length; count++ {
		if !sleep(ctx, time.Until(due)) || !emit(count, token(count)) {
			ended = endAbort
			break
		}
		now := time.Now()
		e.metrics.token(count == 0, now.Sub(arrived), now.Sub(last))
		due, last = due.Add(e.interval), now
	}
	e.metrics.end(ended, time.Since(arrived))
	return ended, count
}

// token is the text of the token with this index: a word with the space before it.
func token(index int) string {
	word := sentence[index%len(sentence)]
	if index == 0 {
		return word
	}
	return " " + word
}
