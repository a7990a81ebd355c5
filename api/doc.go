// SPDX-License-Identifier: Apache-2.0

// Package api says what the objects are that a node takes: how they are read from
// manifests, completed (Default), checked (Validate) and which of their fields this
// node honours (Unsupported). Load does all of it for one manifest and reports every
// error at once.
//
// Types, defaults and validation are upstream's own. The package is a leaf: it
// imports nothing of this module. Its invariant: no field of a Pod is silently
// ignored; the table in fields.go classifies every one, and a test walks the Go
// type to prove it.
package api
