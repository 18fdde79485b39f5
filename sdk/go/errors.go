package webhooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ErrVerification is wrapped by every error of Verify that says that a delivery is not genuine.
var ErrVerification = errors.New("the delivery is not genuine")

// ConnectionError means that there was no response, so it is not known whether the request had an effect.
type ConnectionError struct {
	Err error
}

func (e *ConnectionError) Error() string { return "no response: " + e.Err.Error() }

// Unwrap returns the error of net/http.
func (e *ConnectionError) Unwrap() error { return e.Err }

// APIError means that the service refused a request (RFC 9457).
type APIError struct {
	// Status of the response.
	Status int

	// Reason is a stable code; empty if the response is not from the service.
	Reason string

	// Detail is for people.
	Detail string

	// Errors names each invalid field.
	Errors []FieldError

	RequestID string

	// RetryAfter is how long the service asks to wait; nil if it does not.
	RetryAfter *time.Duration
}

func (e *APIError) Error() string { return fmt.Sprintf("%s (status %d)", e.Detail, e.Status) }

func newAPIError(response *http.Response, body []byte) *APIError {
	var problem struct {
		Detail    string       `json:"detail"`
		Reason    string       `json:"reason"`
		Errors    []FieldError `json:"errors"`
		RequestID string       `json:"request_id"`
	}
	_ = json.Unmarshal(body, &problem) // that of a proxy is no JSON
	found := &APIError{
		Status:    response.StatusCode,
		Reason:    problem.Reason,
		Detail:    problem.Detail,
		Errors:    problem.Errors,
		RequestID: problem.RequestID,
	}
	if found.Detail == "" {
		found.Detail = "the service refused the request"
	}
	if found.RequestID == "" {
		found.RequestID = response.Header.Get("X-Request-Id")
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		wait := time.Duration(seconds) * time.Second
		found.RetryAfter = &wait
	}
	return found
}
