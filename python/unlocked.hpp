// Work without the GIL that is over before the interpreter goes.  Not here: what is worked on.
//
// A thread that asks for the GIL of an interpreter that has gone is ended on the spot, in the midst of a C++ call, which ends the process
// with it.  So Python's exit waits for the calls that are under way, and those that begin later keep the GIL.
#pragma once
#include <Python.h>
#include <pthread.h>

#include <atomic>

class Unlocked {
 public:
  Unlocked() {
    if (leaving_) return;
    inside_++;
    state_ = PyEval_SaveThread();
  }
  ~Unlocked() {
    if (!state_) return;
    PyEval_RestoreThread(state_);
    inside_--;
    inside_.notify_all();
  }
  Unlocked(const Unlocked &) = delete;
  Unlocked &operator=(const Unlocked &) = delete;

  // Once, before the first of them.
  static void prepare() {
    pthread_atfork(nullptr, nullptr, [] { inside_ = 0; });  // other threads stay behind in the parent
  }
  // At the interpreter's exit.
  static void leave() {
    leaving_ = true;
    PyThreadState *state = PyEval_SaveThread();
    for (int n; (n = inside_) != 0;) inside_.wait(n);
    PyEval_RestoreThread(state);
  }

 private:
  static inline std::atomic<int> inside_{0};
  static inline std::atomic<bool> leaving_{false};
  PyThreadState *state_ = nullptr;
};

// f() without the GIL.
template <class F> auto unlocked(F f) {
  const Unlocked free;
  return f();
}
