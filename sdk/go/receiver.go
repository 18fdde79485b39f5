package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	remembered    = 100_000
	maxBody       = 33 << 20 // the service's largest payload is 32 MiB
	challengeType = "url_verification"
)

// Received is a genuine delivery.
type Received struct {
	// ID is the same for every attempt.
	ID        string
	EventID   string
	EventType string

	// Attempt is the number of the attempt, from 1.
	Attempt   int
	Timestamp time.Time
	Header    http.Header

	// Body has the exact bytes.
	Body []byte
}

// JSON decodes the payload.
func (r *Received) JSON(into any) error { return json.Unmarshal(r.Body, into) }

// SeenState says whether a delivery was seen before.
type SeenState int

// States of a delivery.
const (
	SeenNew SeenState = iota
	SeenDone
	SeenHandled
)

// Seen remembers deliveries. Implement it over your database or cache if there are several processes.
type Seen interface {
	// Begin notes that a delivery is being handled, and returns SeenNew; SeenDone or SeenHandled if it was before, or is.
	Begin(ctx context.Context, id string) (SeenState, error)

	// Done notes that it was handled.
	Done(ctx context.Context, id string) error

	// Forget forgets it, because it could not be handled.
	Forget(ctx context.Context, id string) error
}

// Receiver is an http.Handler that verifies deliveries and has each handled once.
//
// The response is 204, or 401 for what is not genuine. If Handle returns an error the response is 500, and the service
// sends the delivery again.
type Receiver struct {
	// Secrets are those that Verify takes.
	Secrets []string

	Handle func(ctx context.Context, delivery *Received) error

	// Seen remembers what was handled. Default: the latest 100,000 deliveries, in memory.
	Seen Seen

	// Tolerance is how old a delivery may be, or how far in the future. Default: 5 minutes.
	Tolerance time.Duration

	// OnError is told what is answered with 500. Default: nobody.
	OnError func(error)

	once   sync.Once
	memory Seen
}

// ServeHTTP receives a delivery.
func (r *Receiver) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxBody))
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(writer, "the body cannot be read", status)
		return
	}
	verified, err := Verify(body, request.Header, r.Secrets, VerifyOptions{Tolerance: r.Tolerance})
	if errors.Is(err, ErrVerification) {
		http.Error(writer, err.Error(), http.StatusUnauthorized)
		return
	}
	if err != nil { // the secrets are not valid
		r.fail(writer, err)
		return
	}
	delivery := &Received{
		ID:        verified.ID,
		EventID:   request.Header.Get("X-Webhook-Event-Id"),
		EventType: request.Header.Get("X-Event-Type"),
		Attempt:   1,
		Timestamp: verified.Timestamp,
		Header:    request.Header,
		Body:      body,
	}
	if attempt, err := strconv.Atoi(request.Header.Get("X-Webhook-Attempt")); err == nil {
		delivery.Attempt = attempt
	}
	var challenge struct {
		Challenge string `json:"challenge"`
	}
	if delivery.EventType == challengeType && delivery.JSON(&challenge) == nil {
		writer.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(writer, challenge.Challenge)
		return
	}
	state, err := r.seen().Begin(request.Context(), delivery.ID)
	switch {
	case err != nil:
		r.fail(writer, err)
	case state == SeenDone:
		writer.WriteHeader(http.StatusNoContent)
	case state == SeenHandled:
		writer.WriteHeader(http.StatusConflict)
	default:
		if err := r.handle(request.Context(), delivery); err != nil {
			r.fail(writer, err)
			return
		}
		writer.WriteHeader(http.StatusNoContent)
	}
}

func (r *Receiver) handle(ctx context.Context, delivery *Received) error {
	handled := false
	// Noted even if the sender gave up waiting, and if Handle panics.
	kept := context.WithoutCancel(ctx)
	defer func() {
		if !handled {
			_ = r.seen().Forget(kept, delivery.ID)
		}
	}()
	if err := r.Handle(ctx, delivery); err != nil {
		return err
	}
	err := r.seen().Done(kept, delivery.ID)
	handled = err == nil
	return err
}

func (r *Receiver) fail(writer http.ResponseWriter, err error) {
	if r.OnError != nil {
		r.OnError(err)
	}
	http.Error(writer, "the delivery could not be handled", http.StatusInternalServerError)
}

func (r *Receiver) seen() Seen {
	if r.Seen != nil {
		return r.Seen
	}
	r.once.Do(func() { r.memory = &seenInMemory{states: map[string]SeenState{}} })
	return r.memory
}

// seenInMemory remembers the latest deliveries of this process.
type seenInMemory struct {
	lock   sync.Mutex
	states map[string]SeenState
	done   []string
	oldest int
}

func (s *seenInMemory) Begin(_ context.Context, id string) (SeenState, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	state := s.states[id]
	if state == SeenNew {
		s.states[id] = SeenHandled
	}
	return state, nil
}

func (s *seenInMemory) Done(_ context.Context, id string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.states[id] = SeenDone
	if len(s.done) < remembered {
		s.done = append(s.done, id)
		return nil
	}
	delete(s.states, s.done[s.oldest])
	s.done[s.oldest] = id
	s.oldest = (s.oldest + 1) % remembered
	return nil
}

func (s *seenInMemory) Forget(_ context.Context, id string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.states, id)
	return nil
}
