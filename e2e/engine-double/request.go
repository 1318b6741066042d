package main

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// request is the part of any request body that decides anything here.
type request struct {
	Model               string `json:"model"`
	MaxTokens           *int   `json:"max_tokens"`
	MaxCompletionTokens *int   `json:"max_completion_tokens"`
	MaxOutputTokens     *int   `json:"max_output_tokens"`
	Stream              bool   `json:"stream"`
	StreamOptions       struct {
		IncludeUsage         bool `json:"include_usage"`
		ContinuousUsageStats bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`

	Messages     json.RawMessage `json:"messages"`
	System       json.RawMessage `json:"system"` // beside messages, in Anthropic's API
	Prompt       json.RawMessage `json:"prompt"`
	Input        json.RawMessage `json:"input"` // of responses and embeddings
	Instructions json.RawMessage `json:"instructions"`

	EncodingFormat string          `json:"encoding_format"`
	Dimensions     int             `json:"dimensions"`
	Query          json.RawMessage `json:"query"`
	Documents      json.RawMessage `json:"documents"`
	TopN           int             `json:"top_n"`
	Queries        json.RawMessage `json:"queries"`
	Items          json.RawMessage `json:"items"`
	Data1          json.RawMessage `json:"data_1"`
	Data2          json.RawMessage `json:"data_2"`
	Text1          json.RawMessage `json:"text_1"`
	Text2          json.RawMessage `json:"text_2"`
	Tokens         []int           `json:"tokens"`

	audioBytes int // of an uploaded file
}

// parseRequest reads a JSON body, or a form with a file.
func parseRequest(r *http.Request) (request, error) {
	var asked request
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "multipart/form-data" {
		return asked, json.NewDecoder(r.Body).Decode(&asked)
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		return asked, err
	}
	defer file.Close()
	size, err := io.Copy(io.Discard, file)
	asked.Model, asked.Stream, asked.audioBytes = r.FormValue("model"), r.FormValue("stream") == "true", int(size)
	asked.StreamOptions.IncludeUsage = r.FormValue("stream_include_usage") == "true"
	return asked, err
}

// texts are the JSON strings of a raw value, one for each item if it is a list.
func texts(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return []string{text(raw)}
	}
	found := []string{}
	for _, item := range list {
		found = append(found, text(item))
	}
	return found
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

// firstRaw is the first value that is there.
func firstRaw(values ...json.RawMessage) json.RawMessage {
	for _, value := range values {
		if value != nil {
			return value
		}
	}
	return nil
}
