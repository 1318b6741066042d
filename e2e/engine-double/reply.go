package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// shape is what differs between the two ways to ask for an answer.
type shape interface {
	prefix() string
	prompt(request) string
	object(streamed bool) string
	opening() any                     // the first choice of a stream; nil for none
	piece(text string) map[string]any // a choice of a stream
	full(text string) map[string]any  // the choice of a whole answer
}

type chat struct{}

func (chat) prefix() string          { return "chatcmpl" }
func (chat) prompt(r request) string { return text(r.Messages) }
func (chat) object(streamed bool) string {
	if streamed {
		return "chat.completion.chunk"
	}
	return "chat.completion"
}
func (chat) opening() any {
	return map[string]any{"delta": map[string]any{"role": "assistant", "content": ""}}
}
func (chat) piece(text string) map[string]any {
	return map[string]any{"delta": map[string]any{"content": text}}
}
func (chat) full(text string) map[string]any {
	return map[string]any{"message": map[string]any{"role": "assistant", "content": text}}
}

type completion struct{}

func (completion) prefix() string                   { return "cmpl" }
func (completion) prompt(r request) string          { return text(r.Prompt) }
func (completion) object(bool) string               { return "text_completion" }
func (completion) opening() any                     { return nil }
func (completion) piece(text string) map[string]any { return map[string]any{"text": text} }
func (completion) full(text string) map[string]any  { return map[string]any{"text": text} }

// reply is one answer on its way.
type reply struct {
	id      string
	model   string
	created int64
	shape   shape
	resets  bool // its connection breaks
	usage   bool // a stream ends with the numbers of tokens
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
	body := a.envelope(false, a.choice(a.shape.full(content.String()), ended))
	body["usage"] = usage(t.prompt, count)
	writeJSON(w, http.StatusOK, body)
}

func (a reply) stream(w http.ResponseWriter, r *http.Request, e *engine, t task) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if opening, ok := a.shape.opening().(map[string]any); ok {
		a.event(w, a.envelope(true, a.choice(opening, "")))
	}
	breaks := -1
	if a.resets {
		breaks = t.length / 2
	}
	// As in vLLM the last token brings the reason with it.
	ended, count := e.generate(r.Context(), t, func(index int, token string) bool {
		if index == breaks {
			return false
		}
		var last ending
		if index == t.length-1 {
			last = t.ending
		}
		a.event(w, a.envelope(true, a.choice(a.shape.piece(token), last)))
		return true
	})
	if a.resets {
		reset(w)
		return
	}
	if ended == endAbort {
		a.event(w, a.envelope(true, a.choice(a.shape.piece(""), endAbort)))
	}
	if a.usage {
		body := a.envelope(true)
		body["usage"] = usage(t.prompt, count)
		a.event(w, body)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func (a reply) envelope(streamed bool, choices ...any) map[string]any {
	if choices == nil {
		choices = []any{}
	}
	return map[string]any{
		"id": a.id, "object": a.shape.object(streamed), "created": a.created, "model": a.model, "choices": choices,
	}
}

func (reply) choice(content map[string]any, ended ending) map[string]any {
	content["index"], content["logprobs"], content["finish_reason"] = 0, nil, nil
	if ended != "" {
		content["finish_reason"] = ended
	}
	return content
}

func (reply) event(w http.ResponseWriter, body any) {
	data, _ := json.Marshal(body)
	fmt.Fprintf(w, "data: %s\n\n", data)
	_ = http.NewResponseController(w).Flush()
}

func usage(prompt, completion int) map[string]int {
	return map[string]int{
		"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
	}
}
