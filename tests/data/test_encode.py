"""Mixed columns as numbers: the outputs are those of scikit-learn's own encoder of words, gap by gap."""

import numpy as np
import pandas as pd
from sklearn.preprocessing import OneHotEncoder

from dpaudit.data.encode import MOST_WORDS, encoded


def test_words_become_what_scikit_learn_makes_of_the_words_themselves() -> None:
    """Same columns, names and order as of an encoder that is given strings: rare words, ties, gaps, one word twice.

    70 words of which many are equally frequent; a gap and the word "missing" are one; 1 and "1" are one word.
    """
    rng = np.random.default_rng(1)
    town = np.array([f"t{at}" for at in np.floor(rng.exponential(20, 900)).astype(int)], object)
    town[:9] = [None, "missing", np.nan, None, 1, "1", 2.5, True, "missing"]
    texts = np.array(["missing" if pd.isna(word) else str(word) for word in town], object)[:, None]
    encoder = OneHotEncoder(max_categories=MOST_WORDS + 1, sparse_output=False)
    wanted = encoder.fit_transform(texts)
    names = [name.replace("infrequent_sklearn", "rarer") for name in encoder.get_feature_names_out(["town"])]
    assert len(np.unique(texts)) > MOST_WORDS + 1
    made = encoded(pd.DataFrame({"town": pd.Series(town, dtype=object)}), "t.csv")
    np.testing.assert_array_equal(made.features, wanted)
    assert [name.replace("town = ", "town_") for name in made.names] == names
    assert f"one for {len(encoder.infrequent_categories_[0])} rarer ones" in made.steps[0]


def test_codes_with_gaps_are_named_like_whole_numbers_and_numbers_stay_in_their_columns() -> None:
    """0, 1 and 2 read as decimals because of a gap are the codes 0, 1, 2; the columns around them keep their places."""
    codes = np.tile([0.0, 1.0, 2.0, np.nan], 30)
    table = pd.DataFrame({"x": np.arange(120.0), "code": codes, "flag": np.tile([0, 1], 60)})
    made = encoded(table, "t.csv")
    assert made.names == ("x", "code = 0", "code = 1", "code = 2", "code = missing", "flag")
    np.testing.assert_array_equal(made.features[:, 1:5], np.tile(np.eye(4), (30, 1)))
    np.testing.assert_allclose(made.features[:, 0], (table["x"] - 59.5) / np.std(np.arange(120.0)), rtol=1e-6)
    np.testing.assert_array_equal(made.features[:, 5], table["flag"])
