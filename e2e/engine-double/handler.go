package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handler answers HTTP in vLLM's words.
type handler struct {
	engine *engine
}

func newHandler(e *engine) http.Handler {
	h := &handler{engine: e}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": "engine-double"})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		e.metrics.write(w)
	})
	mux.HandleFunc("GET /v1/models", h.models)
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, chat{}) })
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, completion{}) })
	return mux
}

func (h *handler) models(w http.ResponseWriter, _ *http.Request) {
	data := []any{}
	for _, name := range h.engine.names {
		data = append(data, map[string]any{
			"id": name, "object": "model", "created": time.Now().Unix(), "owned_by": "vllm",
			"root": h.engine.model, "parent": nil, "max_model_len": h.engine.maxModelLen,
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

// request is the part of a request body that decides anything here.
type request struct {
	Model               string          `json:"model"`
	Messages            json.RawMessage `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Stream              bool            `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, s shape) {
	e := h.engine
	number, admitted := e.begin()
	if !admitted {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	defer e.finish()

	var asked request
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		writeError(w, http.StatusBadRequest, "Bad Request", "the body is not the JSON of a request: "+err.Error(), "")
		return
	}
	if asked.Model != "" && !slices.Contains(e.names, asked.Model) {
		message := fmt.Sprintf("The model `%s` does not exist.", asked.Model)
		writeError(w, http.StatusNotFound, "NotFoundError", message, "model")
		return
	}
	t := e.plan(estimate(s.prompt(asked)), firstOf(asked.MaxCompletionTokens, asked.MaxTokens))
	if total := t.prompt + t.length; total > e.maxModelLen {
		message := fmt.Sprintf("This model's maximum context length is %d tokens. However, you requested %d output "+
			"tokens and your prompt contains %d input tokens.", e.maxModelLen, t.length, t.prompt)
		writeError(w, http.StatusBadRequest, "BadRequestError", message, "input_tokens")
		return
	}
	if e.strikes(error500Every, number) {
		e.metrics.wait()
		e.metrics.leaveQueue(endError)
		message := "EngineCore encountered an issue. See stack trace (above) for the root cause."
		writeError(w, http.StatusInternalServerError, "InternalServerError", message, "")
		return
	}
	a := reply{
		id: fmt.Sprintf("%s-%08x", s.prefix(), number), model: e.names[0], created: time.Now().Unix(), shape: s,
		resets: e.strikes(resetEvery, number), usage: e.forceIncludeUsage || asked.StreamOptions.IncludeUsage,
	}
	if asked.Stream {
		a.stream(w, r, e, t)
	} else {
		a.whole(w, r, e, t)
	}
}

// estimate is about how many tokens a text has.
func estimate(text string) int {
	return max(1, (len(text)+3)/4)
}

func firstOf(values ...*int) *int {
	for _, value := range values {
		if value != nil {
			return value
		}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func writeError(w http.ResponseWriter, status int, kind, message, param string) {
	detail := map[string]any{"message": message, "type": kind, "param": nil, "code": status}
	if param != "" {
		detail["param"] = param
	}
	writeJSON(w, status, map[string]any{"error": detail})
}

// reset ends the connection as a peer that died does: without a word, the rest unsent.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

// text joins what JSON strings a raw value holds, however nested: message contents, prompts, lists of either.
func text(raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	var words strings.Builder
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			words.WriteString(v)
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			walk(v["content"])
			walk(v["text"])
		}
	}
	walk(value)
	return words.String()
}
