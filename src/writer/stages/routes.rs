//! The providers and models that requests were routed to last, so that lifecycles share their names.

use std::sync::Arc;

use crate::model::RequestContext;
use crate::writer::admission::lifecycle::Route;

/// Routes that are remembered. A gateway with more that take turns allocates some of them again, nothing else.
const RECENT_MAX: usize = 8;

/// Belongs to the intake's thread.
#[derive(Debug, Default)]
pub(crate) struct RecentRoutes {
    recent: Vec<Arc<Route>>,
    /// The place of the next one that is not among them.
    next: usize,
}

impl RecentRoutes {
    /// The route of a request.
    pub(crate) fn of(&mut self, context: &RequestContext) -> Arc<Route> {
        let known = self.recent.iter().find(|route| {
            route.request_model == context.request_model
                && route.client_model == context.client_model
                && route.provider_name == context.provider_name
        });
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let route = Arc::new(Route {
            provider_name: context.provider_name.clone(),
            request_model: context.request_model.clone(),
            client_model: context.client_model.clone(),
        });
        match self.recent.get_mut(self.next) {
            Some(place) => *place = Arc::clone(&route),
            None => self.recent.push(Arc::clone(&route)),
        }
        self.next = (self.next + 1) % RECENT_MAX;
        route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(model: usize) -> RequestContext {
        RequestContext {
            provider_name: Some("openai".to_owned()),
            request_model: Some(format!("m-{model}")),
            ..RequestContext::default()
        }
    }

    #[test]
    fn every_request_gets_its_own_route_and_shares_it_while_it_is_recent() {
        let mut routes = RecentRoutes::default();
        for model in (0..RECENT_MAX * 3).chain(0..RECENT_MAX * 2) {
            let route = routes.of(&context(model));
            assert_eq!(route.request_model, Some(format!("m-{model}")));
            assert_eq!(route.client_model, None);
            assert!(Arc::ptr_eq(&route, &routes.of(&context(model))));
            assert!(routes.recent.len() <= RECENT_MAX);
        }
        let other = RequestContext {
            provider_name: Some("azure".to_owned()),
            ..context(0)
        };
        assert_eq!(routes.of(&other).provider_name.as_deref(), Some("azure"));
    }
}
