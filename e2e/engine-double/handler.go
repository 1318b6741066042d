package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
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
	for path, d := range map[string]dialect{
		"/v1/chat/completions":     chat{},
		"/v1/completions":          completion{},
		"/v1/responses":            responses{},
		"/v1/messages":             messages{},
		"/v1/audio/transcriptions": transcription{},
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { h.generate(w, r, d) })
	}
	for path, reading := range map[string]reading{
		"/v1/embeddings": embed,
		"/rerank":        rerank, "/v1/rerank": rerank, "/v2/rerank": rerank,
		"/score": score, "/v1/score": score,
		"/tokenize": tokenize, "/detokenize": detokenize,
		"/v1/messages/count_tokens": countTokens,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { h.read(w, r, reading) })
	}
	return mux
}

func (h *handler) models(w http.ResponseWriter, _ *http.Request) {
	data := []any{}
	for _, name := range h.engine.names {
		data = append(data, object{
			"id": name, "object": "model", "created": time.Now().Unix(), "owned_by": "vllm",
			"root": h.engine.model, "parent": nil, "max_model_len": h.engine.maxModelLen,
		})
	}
	writeJSON(w, http.StatusOK, object{"object": "list", "data": data})
}

// generate answers with a text, at once or as a stream.
func (h *handler) generate(w http.ResponseWriter, r *http.Request, d dialect) {
	e := h.engine
	number, admitted := e.begin()
	if !admitted {
		refuseDraining(w)
		return
	}
	defer e.finish()
	asked, ok := h.admit(w, r, number, d.fail)
	if !ok {
		return
	}
	t := e.plan(d.prompt(asked), firstOf(asked.MaxCompletionTokens, asked.MaxOutputTokens, asked.MaxTokens))
	if total := t.prompt + t.length; total > e.maxModelLen {
		message := fmt.Sprintf("This model's maximum context length is %d tokens. However, you requested %d output "+
			"tokens and your prompt contains %d input tokens.", e.maxModelLen, t.length, t.prompt)
		writeJSON(w, http.StatusBadRequest, d.fail(http.StatusBadRequest, "BadRequestError", message, "input_tokens"))
		return
	}
	a := reply{
		id: fmt.Sprintf("%s%08x", d.prefix(), number), model: e.names[0], created: time.Now().Unix(), dialect: d,
		resets: e.strikes(resetEvery, number), limit: t.length,
		usage:      e.forceIncludeUsage || asked.StreamOptions.IncludeUsage,
		continuous: asked.StreamOptions.IncludeUsage && asked.StreamOptions.ContinuousUsageStats,
	}
	if asked.Stream {
		a.stream(w, r, e, t)
	} else {
		a.whole(w, r, e, t)
	}
}

// admit reads a request and refuses what vLLM would, or what a fault says; it has answered when it is false.
func (h *handler) admit(w http.ResponseWriter, r *http.Request, number int, fail failure) (request, bool) {
	e := h.engine
	refuse := func(status int, kind, message, param string) (request, bool) {
		writeJSON(w, status, fail(status, kind, message, param))
		return request{}, false
	}
	asked, err := parseRequest(r)
	if err != nil {
		return refuse(http.StatusBadRequest, "Bad Request", "the body is not a request: "+err.Error(), "")
	}
	if asked.Model != "" && !slices.Contains(e.names, asked.Model) {
		message := fmt.Sprintf("The model `%s` does not exist.", asked.Model)
		return refuse(http.StatusNotFound, "NotFoundError", message, "model")
	}
	if e.strikes(error500Every, number) {
		e.metrics.wait()
		e.metrics.leaveQueue(endError)
		message := "EngineCore encountered an issue. See stack trace (above) for the root cause."
		return refuse(http.StatusInternalServerError, "InternalServerError", message, "")
	}
	return asked, true
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

// object is a JSON object.
type object = map[string]any

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data))) // long ones have none by themselves
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// failure is the body of an error answer.
type failure func(status int, kind, message, param string) any

// openAIFailure is how all APIs but Anthropic's say what is wrong.
func openAIFailure(status int, kind, message, param string) any {
	detail := object{"message": message, "type": kind, "param": nil, "code": status}
	if param != "" {
		detail["param"] = param
	}
	return object{"error": detail}
}

func refuseDraining(w http.ResponseWriter) {
	http.Error(w, "Internal Server Error", http.StatusInternalServerError)
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
