-- about: canonical query q_attr: spans with a value of a promoted attribute
SELECT count(*) FROM spans WHERE attributes['http.route'] = '/api/cart';
