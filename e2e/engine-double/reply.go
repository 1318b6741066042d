package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// dialect is one of the APIs in which a text can be asked for: what its bodies and events look like.
type dialect interface {
	prefix() string     // of ids
	prompt(request) int // tokens
	fail(status int, kind, message, param string) any
	whole(a reply, text string, ended ending, u usage) any
	opening(a reply, u usage) []event
	piece(a reply, text string, ended ending, u usage) []event // ended is empty before the last token
	closing(a reply, text string, ended ending, u usage) []event
}

// reply is one answer on its way.
type reply struct {
	id         string
	model      string
	created    int64
	dialect    dialect
	limit      int  // tokens
	resets     bool // its connection breaks
	usage      bool // a stream ends with the numbers of tokens
	continuous bool // so does each of its events
}

// usage is how many tokens a request has had so far.
type usage struct {
	prompt, completion int
}

// event is one of a stream; text goes out as it is, all else as JSON.
type event struct {
	name string
	data any
}

func (a reply) whole(w http.ResponseWriter, r *http.Request, e *engine, t task) {
	var content strings.Builder
	ended, count := e.generate(r.Context(), t, func(_ int, token string) bool {
		content.WriteString(token)
		return true
	})
	if a.resets {
		reset(w)
		return
	}
	writeJSON(w, http.StatusOK, a.dialect.whole(a, content.String(), ended, usage{t.prompt, count}))
}

func (a reply) stream(w http.ResponseWriter, r *http.Request, e *engine, t task) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	send(w, a.dialect.opening(a, usage{prompt: t.prompt}))
	breaks := -1
	if a.resets {
		breaks = t.length / 2
	}
	var content strings.Builder
	// As in vLLM the last token brings the reason with it.
	ended, count := e.generate(r.Context(), t, func(index int, token string) bool {
		if index == breaks {
			return false
		}
		var last ending
		if index == t.length-1 {
			last = t.ending
		}
		content.WriteString(token)
		send(w, a.dialect.piece(a, token, last, usage{t.prompt, index + 1}))
		return true
	})
	if a.resets {
		reset(w)
		return
	}
	if ended == endAbort {
		send(w, a.dialect.piece(a, "", endAbort, usage{t.prompt, count}))
	}
	send(w, a.dialect.closing(a, content.String(), ended, usage{t.prompt, count}))
}

func send(w http.ResponseWriter, events []event) {
	for _, one := range events {
		if one.name != "" {
			fmt.Fprintf(w, "event: %s\n", one.name)
		}
		data, plain := one.data.(string)
		if !plain {
			encoded, _ := json.Marshal(one.data)
			data = string(encoded)
		}
		fmt.Fprintf(w, "data: %s\n\n", data)
	}
	_ = http.NewResponseController(w).Flush()
}
