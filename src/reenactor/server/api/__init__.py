"""The API's server: who may ask, what comes in, jobs, live driving, and the routes on top."""
