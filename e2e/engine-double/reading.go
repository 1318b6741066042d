package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// reading is an answer for which nothing is generated: its body, and how many tokens the engine reads for it; with
// none the engine is not asked. id is what tells this answer's id from others.
type reading func(e *engine, asked request, id string) (any, int)

const dimensions = 8 // of embeddings for which the request names no number

// read answers with what follows from the text alone.
func (h *handler) read(w http.ResponseWriter, r *http.Request, answer reading) {
	e := h.engine
	number, admitted := e.begin()
	if !admitted {
		refuseDraining(w)
		return
	}
	defer e.finish()
	asked, ok := h.admit(w, r, number, openAIFailure)
	if !ok {
		return
	}
	body, tokens := answer(e, asked, fmt.Sprintf("%08x", number))
	ended := endStop
	if tokens > 0 {
		ended, _ = e.generate(r.Context(), task{prompt: tokens, ending: endStop}, nil)
	}
	if e.strikes(resetEvery, number) || ended == endAbort {
		reset(w)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func embed(e *engine, asked request, id string) (any, int) {
	data, tokens := []any{}, 0
	for index, input := range texts(asked.Input) {
		var vector any = direction(input, cmp.Or(max(0, asked.Dimensions), dimensions))
		if asked.EncodingFormat == "base64" {
			var packed bytes.Buffer
			_ = binary.Write(&packed, binary.LittleEndian, vector)
			vector = base64.StdEncoding.EncodeToString(packed.Bytes())
		}
		data = append(data, object{"index": index, "object": "embedding", "embedding": vector})
		tokens += estimate(input)
	}
	return e.list("embd-"+id, data, tokens), tokens
}

func score(e *engine, asked request, id string) (any, int) {
	left := texts(firstRaw(asked.Queries, asked.Data1, asked.Text1))
	right := texts(firstRaw(asked.Documents, asked.Items, asked.Data2, asked.Text2))
	data, tokens := []any{}, 0
	for index, other := range right {
		one := ""
		if len(left) > 0 {
			one = left[min(index, len(left)-1)] // one for all, or one for each
		}
		data = append(data, object{"index": index, "object": "score", "score": likeness(one, other)})
		tokens += estimate(one) + estimate(other)
	}
	return e.list("score-"+id, data, tokens), tokens
}

func rerank(e *engine, asked request, id string) (any, int) {
	query, tokens := text(asked.Query), 0
	results := []object{}
	for index, document := range texts(asked.Documents) {
		results = append(results, object{
			"index": index, "document": object{"text": document, "multi_modal": nil},
			"relevance_score": likeness(query, document),
		})
		tokens += estimate(query) + estimate(document)
	}
	slices.SortStableFunc(results, func(a, b object) int {
		return cmp.Compare(b["relevance_score"].(float64), a["relevance_score"].(float64))
	})
	if asked.TopN > 0 {
		results = results[:min(asked.TopN, len(results))]
	}
	return object{
		"id": "rerank-" + id, "model": e.names[0], "results": results,
		"usage": object{"prompt_tokens": tokens, "total_tokens": tokens},
	}, tokens
}

func tokenize(e *engine, asked request, _ string) (any, int) {
	tokens := make([]int, estimate(text(firstRaw(asked.Prompt, asked.Messages))))
	for index := range tokens {
		tokens[index] = index
	}
	return object{
		"count": len(tokens), "max_model_len": e.maxModelLen, "tokens": tokens, "token_strs": nil,
	}, 0
}

func detokenize(_ *engine, asked request, _ string) (any, int) {
	var prompt strings.Builder
	for _, number := range asked.Tokens {
		prompt.WriteString(token(max(0, number)))
	}
	return object{"prompt": prompt.String()}, 0
}

func countTokens(_ *engine, asked request, _ string) (any, int) {
	count := messages{}.prompt(asked)
	return object{"input_tokens": count, "context_management": object{"original_input_tokens": count}}, 0
}

func (e *engine) list(id string, data []any, tokens int) object {
	return usage{prompt: tokens}.in(object{
		"id": id, "object": "list", "created": time.Now().Unix(), "model": e.names[0], "data": data,
	})
}

// direction is a vector of length 1 that depends on the text alone.
func direction(text string, size int) []float32 {
	vector, squares := make([]float64, size), 0.0
	for index := range vector {
		sum := fnv.New32a()
		fmt.Fprint(sum, index, text)
		vector[index] = float64(sum.Sum32())/math.MaxUint32 - 0.5
		squares += vector[index] * vector[index]
	}
	unit := make([]float32, size)
	for index, value := range vector {
		unit[index] = float32(value / math.Sqrt(squares))
	}
	return unit
}

// likeness is the share of a's words that b has too.
func likeness(a, b string) float64 {
	words, theirs := strings.Fields(strings.ToLower(a)), strings.Fields(strings.ToLower(b))
	common := 0
	for _, word := range words {
		if slices.Contains(theirs, word) {
			common++
		}
	}
	return float64(common) / float64(max(1, len(words)))
}
